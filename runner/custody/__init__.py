"""The operator's hold on secrets: what is bound, who had it, what is still out, and how it is taken back.

Reading order: sweep, listing, revoke; cautions and swap are what doctor tells.
"""
