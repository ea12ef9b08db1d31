"""HTML out of plain values."""

from tests.analysis.sample import HOSTILE

from kdumpd.analysis.markup import Html, bar, element, join, table


def test_text_and_attributes_are_escaped() -> None:
    shown = element("a", HOSTILE, Html("<b>ready</b>"), None, href=HOSTILE, class_="x", data_y=None).text
    escaped = "&lt;script&gt;alert(&#x27;&amp;amp;&#x27;)&lt;/script&gt;&quot;&#x27;"
    assert shown == f'<a href="{escaped}" class="x">{escaped}<b>ready</b></a>'


def test_pieces_are_joined() -> None:
    assert join(["<", None, Html("<br>")]).text == "&lt;<br>"


def test_a_tables_numbers_are_set_to_the_right() -> None:
    shown = table(("Name", "Size"), [("a&b", "7")], right=(1,), id="t").text
    assert '<th>Name</th><th class="number">Size</th>' in shown
    assert '<td>a&amp;b</td><td class="number">7</td>' in shown
    assert '<table id="t">' in shown


def test_a_bar_lies_where_it_was() -> None:
    assert 'style="margin-left:25.000%;width:50.000%"' in bar(0.5, start=0.25).text
