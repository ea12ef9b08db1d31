"""HTML out of plain values: everything is escaped here, in one place."""

from collections.abc import Iterable, Sequence
from html import escape

from attrs import frozen


@frozen
class Html:
    """A piece of HTML that is ready; any other text is escaped when it is put into one."""

    text: str


Content = Html | str | None


def element(name: str, *content: Content, **attributes: str | None) -> Html:
    """An element; attributes that are None are left out, ``class_`` and ``data_x`` are written as in HTML."""
    given = {
        key.rstrip("_").replace("_", "-"): value for key, value in attributes.items() if value is not None
    }
    shown = "".join(f' {key}="{escape(value)}"' for key, value in given.items())
    return Html(f"<{name}{shown}>{join(content).text}</{name}>")


def join(content: Iterable[Content]) -> Html:
    """Pieces one after the other."""
    return Html("".join(piece.text if isinstance(piece, Html) else escape(piece or "") for piece in content))


def table(
    head: Sequence[str], rows: Iterable[Sequence[Content]], *, right: Sequence[int] = (), **attributes: str
) -> Html:
    """A table that scrolls within itself where the page is narrow; numbered columns are set to the right."""

    def cells(kind: str, row: Sequence[Content]) -> Html:
        sides = ("number" if place in right else None for place in range(len(row)))
        return element(
            "tr", *(element(kind, cell, class_=side) for cell, side in zip(row, sides, strict=True))
        )

    listed = element("tbody", *(cells("td", row) for row in rows))
    return element(
        "div", element("table", element("thead", cells("th", head)), listed, **attributes), class_="wide"
    )


def bar(share: float, *, start: float = 0, class_: str | None = None) -> Html:
    """A bar in its track: where it starts and how long it is, as shares of the whole."""
    style = f"margin-left:{100 * start:.3f}%;width:{100 * share:.3f}%"
    return element("span", element("span", style=style, class_=class_), class_="track")
