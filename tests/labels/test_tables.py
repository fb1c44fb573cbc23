"""Labels in CSV tables."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from wsseg.errors import WssegError
from wsseg.labels.space import NO, UNKNOWN, YES, LabelSpace
from wsseg.labels.tables import (
    ListedPresence,
    classes_in,
    presence_of,
    read_presence,
    read_texts,
    write_presence,
    write_texts,
)

TUMOR = LabelSpace(("tumor",))
HEART = LabelSpace(("RV", "Myo", "LV"))


def csv(folder: Path, text: str) -> Path:
    path = folder / "image_labels.csv"
    path.write_text(text, encoding="utf-8")
    return path


@st.composite
def presences(draw: st.DrawFn) -> dict[str, ListedPresence]:
    names = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=12)
    cases = draw(st.lists(names, max_size=4, unique=True))
    states = st.sampled_from([YES, NO, UNKNOWN])
    axes = st.integers(0, 2)
    return {
        case: ListedPresence(draw(arrays(np.int8, (3, draw(st.integers(1, 9))), elements=states)), draw(axes))
        for case in cases
    }


class TestPresenceFile:
    def test_its_columns_name_the_classes_in_order(self, tmp_path: Path) -> None:
        assert classes_in(csv(tmp_path, "case,slice,slice_axis,RV,Myo,LV\n")) == HEART
        assert classes_in(csv(tmp_path, "slice,tumor,case\n")) == TUMOR

    @settings(max_examples=100, deadline=None)
    @given(presences())
    def test_what_is_written_is_read(self, cases: dict[str, ListedPresence]) -> None:
        with tempfile.TemporaryDirectory() as folder:
            write_presence(Path(folder) / "labels.csv", cases, HEART)
            back = read_presence(Path(folder) / "labels.csv", HEART)
        assert list(back) == list(cases)
        for case, listed in cases.items():
            assert back[case].axis == listed.axis
            assert back[case].states.dtype == np.int8
            assert np.array_equal(back[case].states, listed.states)

    def test_cells_gaps_order_and_other_columns(self, tmp_path: Path) -> None:
        path = csv(tmp_path, "who,LV,case,slice,RV,Myo\nme,1,b,3,0,\n\nme,0,a, 0 , 1 ,1\nme,,b,1,1,0\n")
        read = read_presence(path, HEART)
        assert {case: listed.states.tolist() for case, listed in read.items()} == {
            "b": [[-1, 1, -1, 0], [-1, 0, -1, -1], [-1, -1, -1, 1]],
            "a": [[1], [1], [0]],
        }

    def test_mark_that_excel_puts_in_front(self, tmp_path: Path) -> None:
        path = tmp_path / "image_labels.csv"
        path.write_bytes("\ufeffcase,slice,tumor\r\nä,0,1\r\n".encode())
        assert read_presence(path, TUMOR)["ä"].states.tolist() == [[1]]

    def test_slices_along_another_axis(self, tmp_path: Path) -> None:
        path = csv(tmp_path, "case,slice,slice_axis,tumor\na,0,i,1\na,1, i ,0\nb,0,,1\nc,0,j,1\n")
        read = read_presence(path, TUMOR)
        assert {case: listed.axis for case, listed in read.items()} == {"a": 0, "b": 2, "c": 1}
        assert presence_of("a", path, TUMOR, slices=2, axis=0).tolist() == [[1, 0]]

    def test_header_alone_lists_nothing(self, tmp_path: Path) -> None:
        assert read_presence(csv(tmp_path, "case,slice,tumor\n"), TUMOR) == {}

    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            ("", "column case, slice, tumor is missing"),
            ("case,slice,tumour\na,0,1\n", "column tumor is missing"),
            ("case,slice,tumor\na,0,1\na,0,0\n", "line 3: slice 0 of a is listed twice"),
            ("case,slice,tumor\n\n\na,0,2\n", "line 4: tumor must be 1, 0 or empty, not '2'"),
            ("case,slice,tumor\na,0,yes\n", "line 2: tumor must be 1, 0 or empty, not 'yes'"),
            ("case,slice,tumor\na,-1,1\n", "line 2: slice must be a whole number"),
            ("case,slice,tumor\na,1.0,1\n", "line 2: slice must be a whole number"),
            ("case,slice,tumor\na,,1\n", "line 2: slice must be a whole number"),
            ("case,slice,tumor\na\n", "line 2: slice must be a whole number"),
            ("case,slice,tumor\na,²,1\n", "line 2: slice must be a whole number"),
            ("case,slice,tumor\na,999999999999,1\n", "line 2: slice must be a whole number"),
            (f"case,slice,tumor\na,{'9' * 5000},1\n", "line 2: slice must be a whole number"),
            ("case,slice,tumor\n,0,1\n", "line 2: case is empty"),
            ("case,slice,slice_axis,tumor\na,0,z,1\n", "line 2: slice_axis must be i, j or k"),
            ("case,slice,slice_axis,tumor\na,0,i,1\na,1,,1\n", "line 3: a is listed along two axes"),
            (f"case,slice,tumor\n{'a' * 200_000},0,1\n", "cannot be read as CSV"),
        ],
    )
    def test_one_sentence_that_names_file_and_line(self, tmp_path: Path, text: str, reason: str) -> None:
        path = csv(tmp_path, text)
        with pytest.raises(WssegError, match=reason) as caught:
            read_presence(path, TUMOR)
        message = str(caught.value)
        assert message.startswith(str(path))
        assert "\n" not in message
        assert len(message) < len(str(path)) + 120

    @pytest.mark.parametrize("content", [b"\xff\xfe\x00c", b"\x1f\x8b\x08\x00\x80\x81\x82"])
    def test_no_text(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "labels.csv").write_bytes(content)
        with pytest.raises(WssegError, match=r"labels\.csv: cannot be read as CSV"):
            read_presence(tmp_path / "labels.csv", TUMOR)

    def test_missing_file_and_folder(self, tmp_path: Path) -> None:
        for path in (tmp_path / "labels.csv", tmp_path):
            with pytest.raises(WssegError, match=f"{path}: cannot be read as CSV"):
                read_presence(path, TUMOR)


class TestTexts:
    def test_by_case_or_image(self, tmp_path: Path) -> None:
        """Public releases say image."""
        given = '{},source,text\na,me,  Many nuclei. \nb,,\n\u00e4,me,"Two lines,\nof one cell."\n'
        expected = {"a": "Many nuclei.", "b": "", "\u00e4": "Two lines,\nof one cell."}
        for column in ("case", "image"):
            assert read_texts(csv(tmp_path, given.format(column))) == expected
        write_texts(tmp_path / "again.csv", expected)
        assert read_texts(tmp_path / "again.csv") == expected

    def test_a_row_that_is_cut_off_says_nothing(self, tmp_path: Path) -> None:
        assert read_texts(csv(tmp_path, "case,text\na\n")) == {"a": ""}

    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            ("case,sentence\na,b\n", "column .*text is missing"),
            ("tile,text\na,b\n", "column .* is missing"),
            ("case,text\na,one\na,two\n", "line 3: a is listed twice"),
            ("image,text\na,one\na,two\n", "line 3: a is listed twice"),
            ("case,sentence\na,b\n", "csv: column text is missing"),
            ("image,sentence\na,b\n", "csv: column text is missing"),
            ("case,text\na," + "b" * 200_000, "cannot be read as CSV .field larger than field limit"),
        ],
    )
    def test_one_sentence(self, tmp_path: Path, text: str, reason: str) -> None:
        with pytest.raises(WssegError, match=reason) as caught:
            read_texts(csv(tmp_path, text))
        assert "\n" not in str(caught.value)


class TestOneCase:
    def test_by_name(self, tmp_path: Path) -> None:
        path = csv(tmp_path, "case,slice,tumor\na,0,1\na,1,0\nb,0,0\n")
        assert presence_of("a", path, TUMOR, slices=2, axis=2).tolist() == [[1, 0]]

    def test_not_listed(self, tmp_path: Path) -> None:
        path = csv(tmp_path, "case,slice,tumor\na,0,1\n")
        with pytest.raises(WssegError, match=r"image_labels\.csv: no rows for case c"):
            presence_of("c", path, TUMOR, slices=1, axis=2)

    @pytest.mark.parametrize("slices", [1, 3])
    def test_wrong_length(self, tmp_path: Path, slices: int) -> None:
        path = csv(tmp_path, "case,slice,tumor\na,0,1\na,1,0\n")
        with pytest.raises(WssegError, match=f"a has {slices} slices, but presence is listed for 2"):
            presence_of("a", path, TUMOR, slices, axis=2)

    def test_another_axis(self, tmp_path: Path) -> None:
        path = csv(tmp_path, "case,slice,tumor\na,0,1\n")
        with pytest.raises(WssegError, match=r"a has .* along the stored axis i, .* along k; .* column slice_axis"):
            presence_of("a", path, TUMOR, slices=1, axis=0)


def test_a_table_as_spreadsheets_and_pandas_write_it(tmp_path: Path) -> None:
    for text in (
        "case;slice;tumor\na;0;1\na;1;\n",
        "case\tslice\ttumor\na\t0\t1\na\t1\t\n",
        "case,slice,tumor\na,0,1.0\na,1,\n",
    ):
        assert read_presence(csv(tmp_path, text), TUMOR)["a"].states.tolist() == [[YES, UNKNOWN]]


def test_a_column_that_is_there_twice(tmp_path: Path) -> None:
    with pytest.raises(WssegError, match="column tumor is there twice"):
        read_presence(csv(tmp_path, "case,slice,tumor,tumor\na,0,1,0\n"), TUMOR)
