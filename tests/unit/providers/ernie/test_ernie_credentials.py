"""Which kind of key a text is, and what is said of those that cannot call ERNIE."""

import pytest

from dujiang.providers.ernie.credentials import V1Credential, V2Credential, WrongCredential, read_credential

HEX = "0123456789abcdef0123456789abcdef"


@pytest.mark.parametrize(
    ("text", "credential"),
    [
        ("AK:SK", V1Credential("AK", "SK")),
        ("Vb5mZ0QxYt1Ls8Kd3Fp7Rw2N:q" + "A1" * 15, V1Credential("Vb5mZ0QxYt1Ls8Kd3Fp7Rw2N", "q" + "A1" * 15)),
        ("bce-v3/ALTAK-abc123/" + HEX, V2Credential("bce-v3/ALTAK-abc123/" + HEX)),
        ("bce-v3/ALTAK-abc123/" + HEX + "|app-x1", V2Credential("bce-v3/ALTAK-abc123/" + HEX, "app-x1")),
    ],
)
def test_the_right_kinds(text: str, credential: object) -> None:
    assert read_credential(text) == credential


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (f"ALTAKabcdef123:{HEX}", "IAM"),
        (f"{HEX}:{HEX}", "IAM"),
        ("ALTAKabcdef123", "IAM"),
        (f"bce-v3/ALTAK-abc/{HEX}:secret", "in the place of an AK"),
        ("bce-v3/ALTAK-abc", "cut short"),
        (f"Bearer bce-v3/ALTAK-abc/{HEX}", "Bearer"),
        (f"24.{HEX}.2592000.1700000000.282335-1", "access token"),
        ("app-AbCd1234", "id of an application"),
        ("12345678", "id of an application"),
        ("sk-proj-abc", "another vendor"),
        ("Vb5mZ0QxYt1Ls8Kd3Fp7Rw2N", "half of a pair"),
        ("nonsense", "no credential of ERNIE"),
        ("a:b:c", "no credential of ERNIE"),
        (":", "no credential of ERNIE"),
        ("AKAK:SKSK\n", "no credential of ERNIE"),
    ],
)
def test_the_wrong_kinds_are_named_and_not_repeated(text: str, named: str) -> None:
    with pytest.raises(WrongCredential) as refused:
        read_credential(text)
    message = str(refused.value)
    assert named in message
    assert "`AK:SK`" in message
    assert len(text) < 4 or text.strip() not in message.replace("AK:SK", "")
