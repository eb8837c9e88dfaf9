"""Put the extension of JupyterLab into the wheel, and into what an editable install installs.

The wheel has the files of ``asyncnb demo`` besides, which a clone has in ``notebooks/``.
"""

from __future__ import annotations

import importlib.util
import shutil
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

#: What ``asyncnb demo`` copies.
DEMO = (
    "01_quickstart.ipynb",
    "reference/images/quickstart-busy.png",
    "reference/images/quickstart-dashboard.png",
)


class LabExtension(BuildHookInterface):  # type: ignore[type-arg]
    """Builds ``share/jupyter/labextensions/asyncnb``, where every JupyterLab looks."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build it into a temporary folder, and name that folder as shared data of the wheel."""
        self._folder = tempfile.mkdtemp(prefix="asyncnb-labextension-")
        # By its path: nothing of asyncnb is installed where wheels are built.
        path = Path(self.root, "asyncnb", "_lab", "build.py")
        spec = importlib.util.spec_from_file_location("asyncnb_lab_build", path)
        assert spec is not None and spec.loader is not None
        build = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(build)
        build.build(Path(self._folder), self.metadata.version)
        build_data["shared_data"][self._folder] = "share/jupyter/labextensions/asyncnb"
        if version == "standard":  # an editable install reads the clone
            for name in DEMO:
                source = str(Path(self.root, "notebooks", name))
                build_data["force_include"][source] = f"asyncnb/_cli/demo_files/{name}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove the temporary folder."""
        shutil.rmtree(self._folder, ignore_errors=True)
