"""Runner as an issuer: what its tokens say, and how its keys are made, kept and changed."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import jwt
import pytest

from runner.errors import PolicyDenied, StoreError
from runner.vault.issuer import Issuer
from runner.vault.lease import Holder

if TYPE_CHECKING:
    from pathlib import Path

NAME = "https://runner.example"
HOLDER = Holder("r1", "digest", "staging", "load[m=1]", 2, "run", "d" * 64, "e" * 64)


@pytest.fixture
def issuer(tmp_path: Path) -> Issuer:
    return Issuer(tmp_path, NAME)


def read(issuer: Issuer, token: bytes, audience: str = "somebody") -> dict[str, Any]:
    """Verify a token as anybody would who has the published keys alone."""
    kid = jwt.get_unverified_header(token)["kid"]
    key = jwt.PyJWKSet.from_dict(issuer.jwks())[kid]
    found: dict[str, Any] = jwt.decode(token, key, algorithms=["ES256"], audience=audience, issuer=NAME)
    return found


def test_a_token_says_who_runs_what_and_in_which_mode(issuer: Issuer) -> None:
    claims = read(issuer, issuer.token(HOLDER, "somebody"))
    assert claims["sub"] == "mode:staging:workflow:digest:step:load[m=1]"
    assert (claims["run"], claims["attempt"], claims["phase"]) == ("r1", 2, "run")
    assert (claims["definition"], claims["plan"]) == ("d" * 64, "e" * 64)
    assert read(issuer, issuer.token(HOLDER, "somebody"))["jti"] != claims["jti"]


@pytest.mark.parametrize(("asked", "given"), [(60, 60), (300, 300), (3600, 300)])
def test_a_token_lives_five_minutes_at_most(issuer: Issuer, asked: float, given: float) -> None:
    claims = read(issuer, issuer.token(HOLDER, "somebody", asked))
    assert claims["exp"] - claims["iat"] in (given, given + 1)
    assert claims["exp"] <= time.time() + given


def test_a_token_is_for_one_audience(issuer: Issuer) -> None:
    with pytest.raises(jwt.InvalidAudienceError):
        read(issuer, issuer.token(HOLDER, "somebody"), "another")


def test_nothing_private_is_published_or_shown(issuer: Issuer, tmp_path: Path) -> None:
    issuer.token(HOLDER, "somebody")
    (key,) = issuer.jwks()["keys"]
    assert set(key) == {"kty", "crv", "x", "y", "kid", "alg", "use"}
    assert "PRIVATE" not in "".join(issuer.pems())
    assert (tmp_path / "issuer.json").stat().st_mode & 0o777 == 0o600


def test_without_a_name_nothing_is_signed(tmp_path: Path) -> None:
    with pytest.raises(PolicyDenied) as caught:
        Issuer(tmp_path).token(HOLDER, "somebody")
    assert "sources: {identity: {issuer:" in caught.value.cure


def test_many_processes_that_come_first_make_one_key(tmp_path: Path) -> None:
    words = "import sys; from pathlib import Path; from runner.vault.issuer import Issuer\n"
    words += "sys.stdin.read(); print(Issuer(Path(sys.argv[1])).jwks()['keys'][0]['kid'])"
    argv = [sys.executable, "-P", "-c", words, str(tmp_path / "config")]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "env": dict(os.environ)}
    children = [subprocess.Popen(argv, **pipes) for _ in range(6)]
    for child in children:
        child.stdin.close()  # type: ignore[union-attr]
    kids = {child.stdout.read() for child in children}  # type: ignore[union-attr]
    assert [child.wait(60) for child in children] == [0] * 6
    for child in children:
        child.stdout.close()  # type: ignore[union-attr]
    assert len(kids) == 1


def test_a_new_key_is_published_before_it_signs_and_an_old_one_while_its_tokens_live(
    tmp_path: Path,
) -> None:
    begun = time.time()
    issuer, later = (Issuer(tmp_path, NAME, lambda after=after: begun + after) for after in (0, 3601))
    old = issuer.token(HOLDER, "somebody")
    issuer.rotate(after=3600)
    kids = [key["kid"] for key in issuer.jwks()["keys"]]
    assert kids[0] == jwt.get_unverified_header(old)["kid"], "the one that signs comes first"
    assert len(set(kids)) == 2
    assert jwt.get_unverified_header(issuer.token(HOLDER, "somebody"))["kid"] == kids[0]
    assert jwt.get_unverified_header(later.token(HOLDER, "somebody"))["kid"] == kids[1]
    assert [key["kid"] for key in later.jwks()["keys"]] == [kids[1], kids[0]]
    last = Issuer(tmp_path, NAME, lambda: begun + 3600 + 301)
    assert [key["kid"] for key in last.jwks()["keys"]] == [kids[1]]


def test_a_key_that_is_replaced_at_once_signs_no_more_but_is_still_believed(issuer: Issuer) -> None:
    old = issuer.token(HOLDER, "somebody")
    issuer.rotate(after=0)
    new = issuer.token(HOLDER, "somebody")
    assert jwt.get_unverified_header(old)["kid"] != jwt.get_unverified_header(new)["kid"]
    assert read(issuer, old)
    assert read(issuer, new)


@pytest.mark.parametrize(
    "text", ["", "{}", '{"version": 2, "keys": []}', '{"version": 1, "keys": [{"kid": 1}]}']
)
def test_a_damaged_file_of_keys_is_never_replaced_silently(issuer: Issuer, tmp_path: Path, text: str) -> None:
    path = tmp_path / "issuer.json"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(StoreError, match="damaged"):
        issuer.token(HOLDER, "somebody")
    assert path.read_text() == text
    path.chmod(0o644)
    with pytest.raises(StoreError, match="read by others"):
        issuer.jwks()
