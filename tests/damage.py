"""Files as they come out of a broken disk or an interrupted copy, for tests."""

from hypothesis import strategies as st


def damaged(content: bytes, data: st.DataObject) -> bytes:
    """The content cut short, or overwritten in a few places."""
    changed = bytearray(content)
    if data.draw(st.booleans()):
        del changed[data.draw(st.integers(0, len(changed) - 1)) :]
    else:
        for _ in range(data.draw(st.integers(1, 4))):
            place = data.draw(st.integers(0, len(changed) - 8))
            changed[place : place + 8] = data.draw(st.binary(min_size=8, max_size=8))
    return bytes(changed)
