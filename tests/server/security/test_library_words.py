"""Names of patients that libraries print."""

from __future__ import annotations

import logging
import warnings

import pytest
from pydicom import Dataset

from wsseg.server.security.library_words import keep_to_ourselves


def test_a_warning_is_told_without_what_it_quotes(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    with caplog.at_level(logging.INFO), warnings.catch_warnings():
        warnings.simplefilter("always")
        keep_to_ourselves()
        scan = Dataset()
        scan.PatientName = "Ada^" + "Test" * 30
        scan.StudyInstanceUID = "Ada"
        logging.getLogger("pydicom").warning("Ada^Test has no date")
        warnings.warn("Ada^Test is odd", UserWarning, stacklevel=1)
    told = capfd.readouterr()
    assert "Ada" not in told.out + told.err + caplog.text
    assert "UserWarning in" in caplog.text
