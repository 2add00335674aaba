import google_crc32c
from hypothesis import given
from hypothesis import strategies as st

from workloads.common import crc32c


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=6))
def test_joined_ranges_have_the_checksum_of_the_whole(parts: list[bytes]) -> None:
    joined = 0
    for part in parts:
        joined = crc32c.join(joined, crc32c.extend(0, part), len(part))
    assert joined == google_crc32c.value(b"".join(parts))


def test_checksum_is_written_as_the_storage_api_writes_it() -> None:
    assert crc32c.to_base64(google_crc32c.value(b"123456789")) == "4waSgw=="
    assert crc32c.from_base64("4waSgw==") == 0xE3069283
