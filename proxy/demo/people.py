"""The made-up people and businesses of the demo. `example.com` is reserved for such use (RFC 2606)."""

import hashlib
import json

_NAMES = (
    "Aarati Shrestha",
    "Bikash Gurung",
    "Chandra Rai",
    "Deepa Thapa",
    "Eva Lindqvist",
    "Farid Haddad",
    "Gita Maharjan",
    "Hari Adhikari",
    "Ines García",
    "Jun Watanabe",
    "Kabita Tamang",
    "Laxmi Poudel",
    "Milan Basnet",
    "Nisha Karki",
    "Oliver Brandt",
    "Prakash Magar",
    "Radha Bhattarai",
    "Sabin Lama",
    "Tara Neupane",
    "Usha Pandey",
    "Vera Nováková",
    "Yangchen Sherpa",
    "Zeynep Kaya",
    "Zoltán Szabó",
)
_BUSINESSES = (
    ("Everest Tea House", "12 Lakeside Road, Pokhara"),
    ("Patan Print Works", "4 Mangal Bazar, Lalitpur"),
    ("Annapurna Logistics", "88 Ring Road, Kathmandu"),
)


def _kaha_id(prefix: str, name: str) -> str:
    """A short code that stays the same from run to run."""
    return f"{prefix}-{hashlib.blake2b(name.encode(), digest_size=3).hexdigest().upper()}"


def _user(number: int, name: str) -> bytes:
    account = name.split(maxsplit=1)[0].lower()
    item = {
        "id": f"user-{number:02}",
        "name": name,
        "email": f"{account}@example.com",
        "avatar": f"https://cdn.example.com/avatars/{account}.webp",
        "kahaId": _kaha_id("U", name),
    }
    return json.dumps(item, ensure_ascii=False, separators=(",", ":")).encode()


def _business(number: int, name: str, address: str) -> bytes:
    item = {
        "id": f"biz-{number:02}",
        "name": name,
        "avatar": f"https://cdn.example.com/logos/biz-{number:02}.webp",
        "address": address,
        "kahaId": _kaha_id("B", name),
    }
    return json.dumps(item, ensure_ascii=False, separators=(",", ":")).encode()


USERS = {f"user-{number:02}": _user(number, name) for number, name in enumerate(_NAMES, 1)}
"""The raw JSON of each demo user by id: user-01 to user-24."""

BUSINESSES = {
    f"biz-{number:02}": _business(number, name, address)
    for number, (name, address) in enumerate(_BUSINESSES, 1)
}
"""The raw JSON of each demo business by id: biz-01 to biz-03."""
