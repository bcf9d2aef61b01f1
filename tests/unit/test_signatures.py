"""Who has signed a message, and when."""

import base64
import hashlib
import hmac
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook, WebhookVerificationError

from proxy.core.events import Invalid, parse
from proxy.core.http.fields import RawField
from proxy.signatures import TOLERANCE, Refusal, Verifier, claims_of, is_message_id, sign

NOW = 1_800_000_000
BODY = '{"type":"user.updated","id":"ü1"}'


def secret(fill: bytes) -> str:
    return f"whsec_{base64.b64encode(fill * 32).decode()}"


OLD, NEW, OTHER = secret(b"o"), secret(b"n"), secret(b"x")


def fields(
    *secrets: str, message_id: str = "msg_1", at: int = NOW, body: str = BODY, **others: str
) -> list[RawField]:
    """What a sender writes who signs with these; `others` are fields of another value."""
    signatures = [sign(one, message_id, at, body)["webhook-signature"] for one in secrets]
    written = {"id": message_id, "timestamp": str(at), "signature": " ".join(signatures)} | others
    return [(f"Webhook-{name.title()}".encode(), value.encode()) for name, value in written.items()]


def instead(sent: list[RawField], name: str, value: str) -> list[RawField]:
    """The same with another value of one field."""
    field = f"Webhook-{name.title()}".encode()
    return [(one, value.encode() if one == field else old) for one, old in sent]


class Clock:
    def __init__(self) -> None:
        self.now = float(NOW)

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "secrets"
    file.write_text(f"{OLD}\n")
    return file


@pytest.fixture
def verifier(file: Path, clock: Clock) -> Verifier:
    return Verifier(file, clock)


@pytest.fixture
def log() -> Iterator[list[Any]]:
    with structlog.testing.capture_logs() as lines:
        yield lines


def reason(verifier: Verifier, sent: list[RawField], body: str | bytes = BODY) -> str:
    """Why a message is refused; an empty string when it is not."""
    try:
        verifier.verify(sent, body.encode() if isinstance(body, str) else body)
    except Refusal as refusal:
        return refusal.reason
    return ""


def test_a_signature_is_what_the_standard_says() -> None:
    key = base64.b64decode(OLD.removeprefix("whsec_"))
    digest = hmac.new(key, f"msg_1.{NOW}.{BODY}".encode(), hashlib.sha256).digest()
    assert sign(OLD, "msg_1", NOW, BODY) == {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(NOW),
        "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
    }


def test_what_is_signed_is_accepted_and_its_id_is_told(verifier: Verifier) -> None:
    assert verifier.verify(fields(OLD), BODY.encode()) == "msg_1"
    assert verifier.verify([(b"Host", b"a"), *fields(OLD, message_id="m-2")], BODY.encode()) == "m-2"


def test_who_signs_with_another_secret_or_signs_something_else_is_refused(verifier: Verifier) -> None:
    assert reason(verifier, fields(OTHER)) == "signature"
    assert reason(verifier, fields(OLD), BODY.replace("updated", "deleted")) == "signature"
    assert reason(verifier, fields(OLD), BODY + " ") == "signature"
    assert reason(verifier, fields(OLD, id="msg_2")) == "signature"
    assert reason(verifier, fields(OLD, timestamp=str(NOW + 1))) == "signature"


def test_a_body_that_is_no_text_is_signed_by_nobody(verifier: Verifier) -> None:
    assert reason(verifier, fields(OLD), b"\xff") == "signature"


@pytest.mark.parametrize(
    ("away", "refused"),
    [(0, ""), (TOLERANCE, ""), (-TOLERANCE, ""), (TOLERANCE + 1, "time"), (-TOLERANCE - 1, "time"), (10**9, "time")],
)  # fmt: skip
def test_it_is_of_now(verifier: Verifier, away: int, refused: str) -> None:
    assert reason(verifier, fields(OLD, at=NOW + away)) == refused


def test_what_was_right_is_too_old_once_its_time_is_over(verifier: Verifier, clock: Clock) -> None:
    sent = fields(OLD)
    clock.now += TOLERANCE + 0.5
    assert reason(verifier, sent) == "time"


def test_a_message_from_the_ends_of_time_is_refused(verifier: Verifier) -> None:
    assert reason(verifier, fields(OLD, timestamp="9" * 16)) == "time"
    assert reason(verifier, fields(OLD, timestamp="9" * 17)) == "malformed"
    assert reason(verifier, fields(OLD, timestamp="1")) == "time"


@pytest.mark.parametrize("name", ["id", "timestamp", "signature"])
def test_each_field_is_needed_once(verifier: Verifier, name: str) -> None:
    sent = fields(OLD)
    (one,) = (field for field in sent if field[0].lower() == f"webhook-{name}".encode())
    assert reason(verifier, [field for field in sent if field != one]) == "missing"
    assert reason(verifier, [*sent, one]) == "malformed"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("id", "x" * 257),
        ("id", "a\tb"),
        ("id", "é"),
        ("timestamp", f"0{NOW}"),
        ("timestamp", f"+{NOW}"),
        ("timestamp", f"{NOW}.0"),
        ("timestamp", "1e9"),
        ("timestamp", "-1"),
        ("timestamp", "١٨٠٠٠٠٠٠٠٠"),
        ("timestamp", "now"),
        ("signature", "v1"),
        ("signature", "v1,"),
        ("signature", "v1,é"),
        ("signature", "v1a,AAAA"),
        ("signature", f"v1,{'A' * 44}"),
        ("signature", f"V1,{'A' * 43}="),
        ("signature", f"v1, {'A' * 43}="),
        ("signature", " ".join([f"v1,{'A' * 43}="] * 17)),
    ],
)
def test_what_is_not_as_the_standard_says_is_refused(verifier: Verifier, name: str, value: str) -> None:
    assert reason(verifier, instead(fields(OLD), name, value)) == "malformed"


def test_one_signature_of_several_is_enough_and_other_versions_are_passed_over(verifier: Verifier) -> None:
    assert reason(verifier, fields(OTHER, NEW)) == "signature"
    assert reason(verifier, fields(OTHER, OLD)) == ""
    (signature,) = (value.decode() for name, value in fields(OLD) if name == b"Webhook-Signature")
    assert reason(verifier, fields(OLD, signature=f"v1a,hnO3f9== v2 , {signature}  x")) == ""


def test_while_one_is_replaced_both_secrets_count_and_the_old_one_ends_with_its_line(
    verifier: Verifier, file: Path
) -> None:
    assert [reason(verifier, fields(one)) for one in (OLD, NEW)] == ["", "signature"]
    file.write_text(f"# since today\n{NEW}\n{OLD}\n")
    assert [reason(verifier, fields(one)) for one in (OLD, NEW, OTHER)] == ["", "", "signature"]
    file.write_text(f"{NEW}\n")
    assert [reason(verifier, fields(one)) for one in (OLD, NEW)] == ["signature", ""]


def test_malformed_lines_are_named_once_for_each_change_and_the_others_count(
    verifier: Verifier, file: Path, log: list[Any]
) -> None:
    file.write_text(f"hush\n{NEW}\nhush hush\n")
    assert [reason(verifier, fields(one)) for one in (NEW, OLD, NEW)] == ["", "signature", ""]
    assert [(line["event"], line["line"]) for line in log] == [
        ("webhook_secret_malformed", 1),
        ("webhook_secret_malformed", 3),
    ]
    assert "hush" not in str(log)


@pytest.mark.parametrize("content", [None, "", "# none\n", "hush\n"])
def test_without_a_secret_nothing_is_accepted_until_there_is_one_again(
    verifier: Verifier, file: Path, log: list[Any], content: str | None
) -> None:
    assert reason(verifier, fields(OLD)) == ""
    if content is None:
        file.unlink()
    else:
        file.write_text(content)
    assert [reason(verifier, fields(OLD)) for _ in range(3)] == ["signature"] * 3
    assert [line["event"] for line in log].count("webhook_secrets_missing") == 1
    file.write_text(f"{OLD}\n{NEW}\n")
    assert reason(verifier, fields(NEW)) == ""


def test_what_another_cut_of_what_was_signed_leaves_for_a_body_is_no_event(verifier: Verifier) -> None:
    """With a full stop in the id, or what looks like a time in the body, one signature is of several messages."""
    start = '{"type":"user.updated","id":"x'
    body = f'{start}.{NOW}.{{"}}'
    (signature,) = (
        value.decode()
        for name, value in fields(OLD, message_id=f"a.{NOW}", body=body)
        if name == b"Webhook-Signature"
    )
    cuts = [("a", f"{NOW}.{body}"), (f"a.{NOW}", body), (f"a.{NOW}.{NOW}.{start}", '{"}')]
    assert [reason(verifier, fields(id=one, signature=signature), rest) for one, rest in cuts] == [""] * 3
    assert parse(body.encode(), {"user"}).id == f"x.{NOW}.{{"
    for _, rest in (cuts[0], cuts[2]):
        with pytest.raises(Invalid):
            parse(rest.encode(), {"user"})


def test_an_id_is_printable() -> None:
    assert is_message_id("msg_2KWPBgLlAfxdpx2AI54pPJ85f4W")
    assert is_message_id("~" * 256)
    for wrong in ("", "x" * 257, "a\n", "é", "\udcff"):
        assert not is_message_id(wrong)


@given(
    st.lists(
        st.tuples(
            st.sampled_from([b"webhook-id", b"Webhook-Timestamp", b"webhook-signature", b"x"]),
            st.binary(max_size=60) | st.sampled_from([b"m", str(NOW).encode(), b"v1," + b"A" * 43 + b"="]),
        ),
        max_size=5,
    )
)
def test_whatever_the_fields_are_they_are_read_or_refused(sent: list[RawField]) -> None:
    with suppress(Refusal):
        claims = claims_of(sent)
        assert is_message_id(claims.message_id)
        assert claims.timestamp > 0
        assert claims.signatures


def test_the_library_agrees(verifier: Verifier, clock: Clock) -> None:
    """What it signs is accepted here, and it accepts what is signed here."""
    at = datetime.now(UTC)
    clock.now = at.timestamp()
    signature = Webhook(OLD).sign("msg_1", at, BODY)
    sent = fields(OLD, timestamp=str(int(at.timestamp())), signature=signature)
    assert reason(verifier, sent) == ""
    Webhook(OLD).verify(BODY, sign(OLD, "msg_1", int(at.timestamp()), BODY))
    with pytest.raises(WebhookVerificationError):
        Webhook(NEW).verify(BODY, sign(OLD, "msg_1", int(at.timestamp()), BODY))
