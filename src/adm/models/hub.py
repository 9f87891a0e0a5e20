"""hf:owner/name[@revision] -> folder with its files; folder -> repository of the Hugging Face hub.

A repository is a folder: `model.safetensors`, for a guided model `classifier.safetensors` and
`weak.safetensors`, and `config.json`, by whose requests the hub counts downloads: it shows what the
header of the model file says, which alone is read. Nothing else is ever downloaded, and none of it
is code.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adm.extras import installing
from adm.shown import printable, reason_of, short
from adm.spec import out_of_range
from adm.store.files import of_system

PREFIX = "hf:"
MODEL, CONFIG = "model.safetensors", "config.json"
CLASSIFIER, WEAK = "classifier.safetensors", "weak.safetensors"  # that guide it
CARD, PICTURE = "README.md", "samples.png"
# The hub's own rules, within which a name is a harmless part of a path of its cache.
SPEC = re.compile(r"(\w[\w.-]{0,95}/\w[\w.-]{0,95})(?:@(\w[\w./-]{0,127}))?", re.ASCII)


@dataclass(frozen=True)
class Repository:
    """A repository of models on the hub.

    Attributes:
        name: owner/name.
        revision: a branch, a tag or a commit; None for the main branch.
    """

    name: str
    revision: str | None = None

    @classmethod
    def parsed(cls, spec: str) -> "Repository":
        """Return the repository of `owner/name` or `owner/name@revision`, with or without `hf:`.

        Raises:
            SettingError: the text has another form.
        """
        match = SPEC.fullmatch(spec.removeprefix(PREFIX))
        if match is None or ".." in spec or "--" in match[1]:
            raise out_of_range("model", "of the form hf:owner/name or hf:owner/name@revision", spec)
        return cls(match[1], match[2])

    def __str__(self) -> str:
        return f"{PREFIX}{self.name}" + (f"@{self.revision}" if self.revision else "")


def snapshot(repository: Repository, **options: Any) -> Path:
    """Return the folder with the files of a repository, in the cache of `huggingface_hub`.

    They are downloaded once. Without a network, the files of the last download are returned.

    Args:
        options: of `huggingface_hub.snapshot_download`: token, cache_dir, local_files_only, ...

    Raises:
        ValueError: the repository is unknown, closed or out of reach, or holds no model of this
            package; or `huggingface_hub` is not installed.
        OSError: the files cannot be written.
    """
    package = package_for(repository)
    try:
        folder = package.snapshot_download(
            repository.name,
            revision=repository.revision,
            allow_patterns=[MODEL, CLASSIFIER, WEAK, CONFIG],
            **options,
        )
    except Exception as error:  # the hub, the network and the disk raise many types
        raise _refusal(repository, error) from None
    if not (Path(folder) / MODEL).is_file():
        raise ValueError(
            f"{repository} has no {MODEL}, and nothing of it was loaded; give a repository that "
            "adm wrote, or convert the weights with `adm convert`"
        )
    return Path(folder)


def push(
    folder: Path,
    repository: Repository,
    private: bool = True,
    token: str | bool | None = None,
    **options: Any,
) -> str:
    """Upload the files of a folder to the hub, as one commit; return its address.

    A missing repository is created. A classifier, a weak model or a picture that the folder lacks
    is deleted from an existing one.

    Args:
        private: whether a new repository is.
        token: of the user; by default that of `hf auth login`.
        options: of `huggingface_hub.HfApi.upload_folder`: commit_message, create_pr, ...

    Raises:
        ValueError: the hub refuses, or cannot be reached; or `huggingface_hub` is not installed.
    """
    api = package_for(repository).HfApi(token=token)
    try:
        api.create_repo(repository.name, private=private, exist_ok=True)
        if repository.revision is not None:
            api.create_branch(repository.name, branch=repository.revision, exist_ok=True)
        address = api.upload_folder(
            repo_id=repository.name,
            folder_path=folder,
            revision=repository.revision,
            **{"commit_message": "Write the model with adm"} | options,
            delete_patterns=[CLASSIFIER, WEAK, PICTURE],
        )
    except Exception as error:  # as in `snapshot`
        raise _refusal(repository, error) from None
    return str(address)


def repository_of(file: Path) -> str | None:
    """Return owner/name of a file in the hub's cache, models--owner--name/snapshots/COMMIT."""
    snapshots = file.parent.parent
    name = snapshots.parent.name
    if snapshots.name != "snapshots" or not name.startswith("models--"):
        return None
    return name.removeprefix("models--").replace("--", "/")


def package_for(purpose: object) -> Any:
    """Return `huggingface_hub`; raise ValueError with the cure if it is not installed."""
    try:
        import huggingface_hub  # an extra
    except ImportError:
        raise ValueError(
            f"{purpose} needs huggingface_hub, which is not installed; {installing('hub')}"
        ) from None
    return huggingface_hub


def _refusal(repository: Repository, error: Exception) -> Exception:
    """Return what to raise for an error of the hub."""
    from huggingface_hub import constants, errors

    if isinstance(error, OSError) and of_system(error):  # the disk is full, ...
        return error
    login = "log in with `hf auth login`"
    page = f"its page, {constants.ENDPOINT}/{repository.name}"
    if isinstance(error, errors.GatedRepoError):
        why = f"is open only to those who accept its terms; do so on {page}, and {login}"
    elif isinstance(error, errors.RepositoryNotFoundError):
        why = f"does not exist, or is private; look for {page}, or {login}"
    elif isinstance(error, errors.RevisionNotFoundError):
        why = f"has no such revision; give one that is on {page}"
    elif isinstance(error, errors.OfflineModeIsEnabled | errors.LocalEntryNotFoundError):
        why = (
            "is out of reach, and not in the cache of this machine; connect to the network, unset "
            "HF_HUB_OFFLINE, or give the path of a folder with its files"
        )
    else:
        reason = short(printable(reason_of(error).partition("\n")[0] or type(error).__name__))
        why = f"did not get through ({reason}); run the command again, or {login}"
    return ValueError(f"{repository} {why}")
