"""A case read piece by piece: numbers to choose with, then bytes to use."""


class Cursor:
    """Takes numbers and bytes off the front of a case; past its end everything is zero and empty."""

    def __init__(self, case: bytes) -> None:
        self._case = case
        self._place = 0

    def __bool__(self) -> bool:
        return self._place < len(self._case)

    def number(self, size_bytes: int = 1) -> int:
        """A number of so many bytes."""
        return int.from_bytes(self.take(size_bytes), "little")

    def take(self, size_bytes: int) -> bytes:
        """The next bytes, fewer at the end."""
        start, self._place = self._place, self._place + size_bytes
        return self._case[start : self._place]

    def rest(self) -> bytes:
        """All that is left."""
        return self.take(len(self._case))
