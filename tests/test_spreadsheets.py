from __future__ import annotations

from pathlib import Path

import pytest

from wsseg.errors import WssegError
from wsseg.spreadsheets import read_table


@pytest.mark.parametrize(
    "content",
    [
        "case,text\na,left\nb,\n",
        "\ufeffcase;text\r\na;left\r\nb;\r\n",
        "case\ttext\na\tleft\nb\n",
        "case;text;;\na;left;;\nb;;;\n",
        '"case";"text"\n"a";"left"\n\n"b";""\n',
    ],
)
def test_a_table_is_read_as_spreadsheets_and_scripts_write_it(content: str, tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    table.write_text(content, encoding="utf-8", newline="")
    columns, rows = read_table(table, {"case", "text"})
    assert columns[:2] == ["case", "text"]
    assert [(row["case"], row["text"]) for _, row in rows] == [("a", "left"), ("b", "")]


def test_delimiters_in_quotes_part_no_columns(tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    table.write_text('case,"a;b;c;d"\nx,1\n', encoding="utf-8")
    assert read_table(table, {"case"})[0] == ["case", "a;b;c;d"]


def test_delimiters_of_the_others_are_text(tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    table.write_text('case,text\na,"left, upper; lower"\nb,one;two\n', encoding="utf-8")
    assert [row["text"] for _, row in read_table(table, {"text"})[1]] == ["left, upper; lower", "one;two"]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("case,text\na,left, upper\n", "line 2: has more cells than there are columns"),
        ("case,text,case\na,b,c\n", "column case is there twice"),
        ("case\na\n", "column text is missing"),
        ("", "column case, text is missing"),
        ('case,text\na,"left\nb,right\n', "cannot be read as CSV"),
        (b"case,text\n\xff\xfe,1\n", "cannot be read as CSV"),
    ],
)
def test_a_table_that_cannot_be_meant_is_refused(content: str | bytes, sentence: str, tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    table.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(WssegError, match=sentence):
        read_table(table, {"case", "text"})
