"""Finding the root file system that a step asks for, and making it where it can be made."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

from runner.errors import EngineUnavailable, ImageMissing
from runner.sandbox.base import Image
from runner.sandbox.build.profile import find_profile, load_profile, profile_names
from runner.sandbox.build.record import BuiltProfile, built_profile, layer_path, rootfs_path
from runner.sandbox.shipped import shipped_folder

if TYPE_CHECKING:
    from pathlib import Path

    from runner.sandbox.build.programs import Progress

HOST = "host:"
"""The digest of the image that is the host's own system folders."""


class ProfileRow(TypedDict):
    """A line of ``runner sandbox list``; ``digest`` is empty when the profile is not built."""

    name: str
    digest: str
    description: str


def _silent(_line: str) -> None:
    pass


class Images:
    """The images of one project for one engine (``docker``, ``gvisor`` or ``bubblewrap``) in one mode.

    ``warnings`` collects what a reader of the run has to know. ``progress`` is told what a build does.
    """

    def __init__(
        self, cache: Path, project: Path, engine: str, mode: str, progress: Progress = _silent
    ) -> None:
        self._cache = cache
        self._folders = (project / "sandboxes", shipped_folder())
        self._project = project
        self._engine = engine
        self._mode = mode
        self._progress = progress
        self.warnings: list[str] = []

    def find(self, kind: str, name: str) -> Image:
        """Return the image of a ``profile``, or of a ``reference`` as Docker or ``oci:FOLDER`` writes it.

        Raises ``ImageMissing`` when it cannot be had, ``SandboxError`` when it cannot be made.
        """
        if self._engine == "bubblewrap":
            return self._unpacked_profile(name) if kind == "profile" else self._unpacked_reference(name)
        return self._loaded_profile(name) if kind == "profile" else self._pulled(name)

    def find_again(self, kind: str, name: str, digest: str) -> Image:
        """Return the image with this very digest; raises ``ImageMissing`` when it is no longer to be had."""
        try:
            found = self.find(kind, name)
        except ImageMissing:
            found = Image(name, "")
        if found.digest == digest:
            return found
        if (kept := self._kept(name, digest)) is not None:
            return kept
        raise ImageMissing(
            f"the image {name} is no longer the one that the run began with ({digest[:19]})",
            cure="bring it back (runner sandbox list shows what is there), or run the workflow anew",
        )

    def _kept(self, name: str, digest: str) -> Image | None:
        if self._engine == "bubblewrap":
            tree = rootfs_path(self._cache, digest)
            return Image(name, digest, tree) if digest != HOST and tree.is_dir() else None
        from runner.sandbox.build import engine_images

        there = engine_images.inspect(digest)
        return Image(name, digest, reference=str(there["Id"])) if there else None

    def build(self, name: str) -> Image:
        """Build profile ``name`` anew, and give it to the engine; the newest packages make a new digest."""
        from runner.sandbox.build import engine_images, engine_transfer

        built = self._build(name, find_profile(name, self._folders))
        tree = self._tree(built)
        reference = ""
        if self._engine != "bubblewrap":
            reference = engine_images.profile_id(built) or engine_transfer.load(
                built, layer_path(self._cache, built)
            )
        return Image(name, built.digest, tree, reference)

    def list(self) -> list[ProfileRow]:
        """Return every profile that this project can name."""
        rows: list[ProfileRow] = []
        for name in profile_names(self._folders):
            folder = find_profile(name, self._folders)
            built = built_profile(folder, self._cache)
            digest = built.digest if built else ""
            rows.append({"name": name, "digest": digest, "description": load_profile(folder).description})
        return rows

    def _loaded_profile(self, name: str) -> Image:
        from runner.sandbox.build import engine_images

        folder = find_profile(name, self._folders)
        built = built_profile(folder, self._cache) or self._build(name, folder)
        reference = engine_images.profile_id(built)
        if reference is None:
            from runner.sandbox.build import engine_transfer

            self._progress(f"loading sandbox profile {name} into the engine")
            reference = engine_transfer.load(built, layer_path(self._cache, built))
        return Image(name, built.digest, reference=reference)

    def _pulled(self, name: str) -> Image:
        if name.startswith("oci:"):
            raise ImageMissing(
                f"{name} works under bubblewrap only", cure="load it into the engine and name it"
            )
        from runner.sandbox.build import engine_images

        found = engine_images.inspect(name)
        if found is None:
            from runner.sandbox.build import engine_transfer

            self._progress(f"pulling {name}")
            found = engine_transfer.pull(name)
        return Image(name, str(found["Id"]), reference=str(found["Id"]))

    def _unpacked_profile(self, name: str) -> Image:
        built = built_profile(find_profile(name, self._folders), self._cache)
        if built is not None:
            return Image(name, built.digest, self._tree(built))
        cure = f"runner sandbox build {name}"
        if self._mode == "production":
            raise ImageMissing(
                f"sandbox profile {name} is not built, and production never uses the host's", cure=cure
            )
        text = f"sandbox profile {name} is not built: the host's system folders stand in, read-only ({cure})"
        if text not in self.warnings:
            self.warnings.append(text)
        return Image(name, HOST)

    def _build(self, name: str, folder: Path) -> BuiltProfile:
        from runner.sandbox.build.builder import build_profile

        return build_profile(name, folder, self._cache, self._progress)

    def _tree(self, built: BuiltProfile) -> Path:
        if (tree := rootfs_path(self._cache, built.digest)).is_dir():
            return tree
        from runner.sandbox.build.builder import profile_rootfs

        return profile_rootfs(self._cache, built)

    def _unpacked_reference(self, name: str) -> Image:
        from runner.sandbox.build import engine_images, engine_transfer, oci
        from runner.sandbox.build.builder import rootfs

        if name.startswith("oci:"):
            layout = self._project / name.removeprefix("oci:")
            digest, layers = oci.read_layout(layout)
            tree = rootfs(self._cache, digest, lambda target: oci.unpack_layout(layout, layers, target))
            return Image(name, digest, tree)
        try:
            found = engine_images.inspect(name) or engine_transfer.pull(name)
        except EngineUnavailable as error:
            cure = "start a Docker Engine, or name an OCI layout: oci:FOLDER"
            raise ImageMissing(
                f"image {name} has to be unpacked from a Docker Engine: none answers", cure=cure
            ) from error
        identity = str(found["Id"])
        return Image(name, identity, rootfs(self._cache, identity, lambda target: _export(identity, target)))


def _export(identity: str, target: Path) -> None:
    from runner.sandbox.build.engine_transfer import exported
    from runner.sandbox.build.unpack import unpack

    with exported(identity) as stream:
        unpack(stream, target)
