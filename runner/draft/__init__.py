"""From a script to a workflow: what it does when watched once, and the least that lets it do so again."""
