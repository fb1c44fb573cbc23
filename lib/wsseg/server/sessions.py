"""Images that are uploaded to be segmented and kept for a while: MONAI Label's sessions, there whole or not at all."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from uuid import uuid4

from monailabel.utils.sessions import SessionInfo, Sessions

from wsseg.files import whole_file

logger = logging.getLogger(__name__)

META = "meta.info"

BEGUN = 600.0
"""Seconds within which a folder may be that of a session that is being made."""


class WholeSessions(Sessions):
    """MONAI Label's, which end the server at its start where a kill or a full disk has left half a session."""

    def add(self, image: Path, expiry: int) -> tuple[str, SessionInfo]:
        """Move an image, a file or the folder of a series, into a session of its own.

        Args:
            image: is not there afterwards.
            expiry: seconds; 0 for as long as may be.

        Returns:
            The session's id, which nobody can guess, and what is known of it.

        Raises:
            OSError: there is no room for it; nothing is left.
        """
        name = str(uuid4())
        try:
            return self.add_session(str(image), expiry, session_id=name)
        except BaseException:
            self.remove_session(name)
            raise

    def get_session(self, session_id: str, update_ts: bool = True, fetch_cache: bool = True) -> SessionInfo | None:
        """What is known of a session; None where there is none, or half of one."""
        try:
            return super().get_session(session_id, update_ts, fetch_cache)
        except ValueError:  # an empty file, left by a version before this class
            return None

    def remove_expired(self) -> int:
        """Remove sessions whose time is over, and what is left of half ones."""
        store = Path(self.store_path)
        folders = [path for path in store.iterdir() if path.is_dir()] if store.is_dir() else []
        over = [folder for folder in folders if self._is_over(folder)]
        for folder in over:
            self.remove_session(folder.name)
        if over:
            logger.info("%d sessions are over", len(over))
        return len(over)

    def _is_over(self, folder: Path) -> bool:
        session = self.get_session(folder.name, update_ts=False, fetch_cache=False)
        now = time.time()
        if session is None:
            return folder.is_dir() and now - folder.stat().st_mtime > BEGUN
        return 0 < session.expiry < now - session.last_access_ts

    def _write_meta_info(self, session_id: str, session_info: SessionInfo) -> None:
        with whole_file(Path(self.store_path) / session_id / META) as part:
            part.write_text(session_info.to_str(), encoding="utf-8")
