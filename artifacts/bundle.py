"""One archive for a repository such as Zenodo: records, paper, environment, checksums, and what says how to check them.

The same inputs give the same bytes: names are sorted, times fixed, and files stored as they are, since compressed bytes
depend on the library that compresses. Knows what goes in and how it is described; it judges nothing itself.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from artifacts.beside import ABLATION, KINDS, REFERENCE
from artifacts.build import MANIFEST
from artifacts.check import check, read_manifest
from artifacts.results import RefusedError
from artifacts.typeset import DATED, LATEXMK, PAGES
from spinn.errors import InputError
from spinn.record import ADAPTATION, PLAN, RECORD, RUNS, Plan, Record, read_model
from spinn.storage import digest_file, is_stored, packed
from verify.audit import audit

SUMS, CRATE, README = "SHA256SUMS", "ro-crate-metadata.json", "README.md"
_RECORDS = "records"
_ROOT = Path(__file__).parent.parent
_ELSEWHERE = "measured elsewhere, and printed in `paper/report.html`"
_BESIDE = {
    f"{ABLATION}/": "runs by settings, of the same data; `spinn-verify records` takes it too",
    f"{REFERENCE}/": "what the runs reproduce: `spinn-artifacts reproduce records --reference reference`",
}
_FROM_CHECKOUT = ("CITATION.cff", "LICENSE", "constraints.txt", "pyproject.toml")
_WEIGHTS = ".safetensors"
_FIRST_DAY = (1980, 1, 1, 0, 0, 0)  # the earliest time that a zip file can state
_FORMATS = {
    ".csv": "text/csv",
    ".html": "text/html",
    ".json": "application/json",
    ".md": "text/markdown",
    ".pdf": "application/pdf",
    ".png": "image/png",
    ".safetensors": "application/octet-stream",
    ".tex": "application/x-tex",
    ".xz": "application/x-xz",
}
_CONTEXT = ["https://w3id.org/ro/crate/1.1/context", {"sha256": "https://schema.org/sha256"}]


@dataclass(frozen=True)
class Bundle:
    """An archive that was written: its path, its sha256, and how many files it holds."""

    path: Path
    sha256: str
    files: int

    def as_json(self) -> dict[str, Any]:
        """The bundle as `--json` prints it."""
        return {"bundle": str(self.path), "sha256": self.sha256, "files": self.files}


def bundle(
    runs: Path,
    paper: Path,
    out: Path,
    *,
    date: str,
    weights: bool = False,
    **beside: Path,
) -> Bundle:
    """Write the archive of a folder of runs and of what was built from it.

    Args:
        runs: records whose audit holds.
        paper: what `artifacts.build.build` made of these very records.
        out: the zip file.
        date: of publication, YYYY-MM-DD. RO-Crate demands one, and today's would give other bytes tomorrow.
        weights: whether the networks go in as well.
        beside: what the paper was built with, by the same names: `artifacts.beside.KINDS`.

    Raises:
        RefusedError: the audit refuses the records, or `check` the paper, or the paper is of other records.
        InputError: a file that is needed is not there, or one is given that the paper does not print.
    """
    manifest = read_manifest(paper)
    problems = check(paper)
    if problems:
        raise RefusedError(
            f"{paper}: {len(problems)} problem(s), the first {problems[0].file}: {problems[0].message}; "
            "only a folder that `spinn-artifacts check` lets through is bundled"
        )
    _match(paper, manifest["inputs"]["records"], beside)
    files = {KINDS[name].name: path for name, path in beside.items() if not KINDS[name].folder}
    others = {KINDS[name].name: path for name, path in beside.items() if KINDS[name].folder}
    folders = {_RECORDS: runs, **others}
    _refuse(folders, paper, manifest, files)
    plan = read_model(runs / PLAN, Plan)
    content: dict[str, Path | bytes] = {name: _there(_ROOT / name) for name in _FROM_CHECKOUT}
    content |= {f"paper/{name}": paper / name for name in manifest["outputs"]}
    # Times of checkpoints tell a build whether an audit is due, and are of the folder that it looked at.
    inputs = {what: digests for what, digests in manifest["inputs"].items() if what != "checkpoints"}
    content[f"paper/{MANIFEST}"] = _json({**manifest, "inputs": inputs})
    content |= files
    read = [name for name in manifest["inputs"]["records"] if name not in files and not name.endswith(_WEIGHTS)]
    for name in read:  # a compressed one goes in as it is
        place, inside = _place(name)
        path = folders[place] / inside
        path = path if path.is_file() else packed(path)
        content[f"{place}/{path.relative_to(folders[place]).as_posix()}"] = path
    if weights:
        patterns = (f"{RUNS}/*/*{_WEIGHTS}", f"{ADAPTATION}/*{_WEIGHTS}")
        networks = {place: [path for one in patterns for path in folders[place].glob(one)] for place in folders}
        if not networks[_RECORDS]:
            raise InputError(f"{runs}: there are no weights in it; bundle it without --weights")
        for place, paths in networks.items():
            content |= {f"{place}/{path.relative_to(folders[place]).as_posix()}": path for path in paths}
    content["environment.json"] = _json(
        [one for place, folder in folders.items() for one in _environments(place, folder)]
    )
    about = yaml.safe_load((_ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    beside_it = [*files, *(f"{name}/" for name in others)]
    content[README] = _readme(plan, about, weights, beside_it, _set_again(manifest)).encode()
    content[CRATE] = _json(_crate(content, plan, about, date))
    lines = [f"{_sha256(content[name])}  ./{name}\n" for name in sorted(content)]  # as the README's command prints them
    content[SUMS] = "".join(lines).encode()
    _write(out, f"spinn-{plan.experiment.name}", content)
    return Bundle(out, digest_file(out), len(content))


def _refuse(folders: Mapping[str, Path], paper: Path, manifest: Mapping[str, Any], files: Mapping[str, Path]) -> None:
    for folder in folders.values():
        errors = [finding for finding in audit(folder, replay=True).findings if finding.severity == "error"]
        if errors:
            raise RefusedError(
                f"{folder}: the audit found {len(errors)} error(s), the first {errors[0].check}: {errors[0].message}; "
                "no such records are bundled"
            )
    for name, digest in manifest["inputs"]["records"].items():
        place, inside = _place(name)
        path = files.get(name, folders[place] / inside)
        if name.endswith(_WEIGHTS) and not path.is_file():
            continue  # withheld: the audit says what it could not look at
        if not is_stored(path) or digest_file(path) != digest:
            raise RefusedError(f"{path}: not the file that {paper} was built from; run `spinn-artifacts build` again")


def _place(name: str) -> tuple[str, str]:
    """The folder of the archive in which a file that a build has read goes, and its path there."""
    place, _, inside = name.partition("/")
    return (place, inside) if place in (ABLATION, REFERENCE) else (_RECORDS, name)


def _match(paper: Path, read: Mapping[str, str], beside: Mapping[str, Path]) -> None:
    """What is named beside the runs is there, and is what the build named."""
    for option, kind in KINDS.items():
        printed = any(name == kind.name or name.startswith(f"{kind.name}/") for name in read)
        if option not in beside:
            if printed:
                raise InputError(f"{paper}: it was built with --{option}; name the same with --{option}")
            continue
        path = beside[option] / PLAN if kind.folder else beside[option]
        if not printed:
            raise InputError(f"{path}: {paper} was built without it; leave out --{option}, or build again")
        if not path.is_file():
            raise InputError(f"{path}: no such file; --{option} wants the one that {paper} was built with")


# --- what is described ----------------------------------------------------------------------------------------------


def _environments(place: str, runs: Path) -> list[dict[str, Any]]:
    """Each machine and set of libraries that the runs of a folder were made with, and which runs those were."""
    found: dict[str, dict[str, Any]] = {}
    for planned in read_model(runs / PLAN, Plan).runs:
        environment = read_model(runs / RUNS / planned.run_id / RECORD, Record).environment.model_dump()
        key = json.dumps(environment, sort_keys=True)
        found.setdefault(key, {"environment": environment, "folder": place, "runs": []})["runs"].append(planned.run_id)
    return list(found.values())


def _crate(content: Mapping[str, Path | bytes], plan: Plan, about: Mapping[str, Any], date: str) -> dict[str, Any]:
    """Metadata by RO-Crate 1.1 (https://w3id.org/ro/crate/1.1): the root data set, its files, authors and licence."""
    authors = [_author(author, number) for number, author in enumerate(about["authors"], 1)]
    licence = {
        "@id": f"https://spdx.org/licenses/{about['license']}",
        "@type": "CreativeWork",
        "name": about["license"],
    }
    root = {
        "@id": "./",
        "@type": "Dataset",
        "name": about["title"],
        "description": f"Experiment {plan.experiment.name} on {plan.dataset.source}: the records of {len(plan.runs)} "
        "runs, and the tables, figures and numbers that were built from them.",
        "version": str(about["version"]),
        "datePublished": date,
        "license": {"@id": licence["@id"]},
        "author": [{"@id": author["@id"]} for author in authors],
        "keywords": about.get("keywords", []),
        "hasPart": [{"@id": name} for name in (*sorted(content), SUMS)],
    }
    described = {
        "@id": CRATE,
        "@type": "CreativeWork",
        "about": {"@id": "./"},
        "conformsTo": {"@id": "https://w3id.org/ro/crate/1.1"},
    }
    files = [
        {
            "@id": name,
            "@type": "File",
            "name": name,
            "contentSize": str(len(what) if isinstance(what, bytes) else what.stat().st_size),
            "encodingFormat": _FORMATS.get(Path(name).suffix, "text/plain"),
            "sha256": _sha256(what),
        }
        for name, what in sorted(content.items())
    ]
    sums = {"@id": SUMS, "@type": "File", "name": SUMS, "encodingFormat": "text/plain"}  # has this file's own digest
    return {"@context": _CONTEXT, "@graph": [described, root, *files, sums, *authors, licence]}


def _author(author: Mapping[str, Any], number: int) -> dict[str, Any]:
    identity = author.get("orcid") or f"#author-{number}"
    if "name" in author:
        return {"@id": identity, "@type": "Organization", "name": author["name"]}
    names = {"givenName": author.get("given-names", ""), "familyName": author["family-names"]}
    return {"@id": identity, "@type": "Person", "name": " ".join(names.values()).strip(), **names}


def _set_again(manifest: Mapping[str, Any]) -> str:
    """How to see that the PDFs were set from the LaTeX that lies beside them; nothing where there are none."""
    names = [name for name in PAGES if f"{name}.pdf" in manifest["outputs"]]
    if not names:
        return ""
    dated = " ".join(f"{name}={value}" for name, value in DATED.items())
    return f"""
`check` compares `paper/paper/*.tex` with the numbers; that the PDFs were set from these only setting them again shows.
By the same LaTeX, {manifest["inputs"]["versions"]["latex"]}, their bytes are the same:

```bash
(
  cd paper/paper && export {dated}
  for name in {" ".join(names)}; do
    {" ".join(LATEXMK)} -outdir=../again $name.tex > /dev/null 2>&1 && cmp ../again/$name.pdf ../$name.pdf || exit 1
  done
)
```
"""


def _readme(plan: Plan, about: Mapping[str, Any], weights: bool, beside: Sequence[str], set_again: str) -> str:
    withheld = (
        "" if weights else "\nThe networks themselves are not in it: what only they can show is then unchecked.\n"
    )
    printed = "".join(f"| `{name}` | {_BESIDE.get(name, _ELSEWHERE)} |\n" for name in sorted(beside))
    simulated = "\nThe data is simulated: no number here was measured on a real tool.\n"
    return f"""# {about["title"]}

Experiment {plan.experiment.name} on {plan.dataset.source}: {len(plan.runs)} runs, and what was built from them.
{simulated if plan.dataset.source == "simulator" else ""}
Is every file as it was? This needs nothing but a shell (on macOS write `shasum -a 256` for `sha256sum`). It makes the
list of checksums anew and compares it with {SUMS}: where all is as it was it prints nothing, and it fails after one
changed byte, in {SUMS} as in any other file, and after a file or a link more or less.
The commands below leave files behind, so run it first:

```bash
{{ find . -type f ! -path ./{SUMS} -exec sha256sum {{}} +; find . ! -type d ! -type f; }} \\
  | LC_ALL=C sort -k 2 | diff {SUMS} -
```

It proves that the files and {SUMS} belong together, not who wrote them: whoever changes a file and its line alike is
found only by the sha256 of the archive, which `spinn-artifacts bundle` printed. Compare that with the published one.

Do the records hold, and does the paper say what they say? With version {about["version"]} of spinn installed
(`constraints.txt` has the versions of everything else):

```bash
spinn-verify records records --replay
spinn-artifacts check paper
```
{set_again}{withheld}
| part | content |
|---|---|
| `records/` | `plan.json`, written before any training; data, success criteria, and the record of each run |
| `paper/` | `report.html` to read first; tables, figures, `numbers.json` with the source of each number |
{printed}| `environment.json` | the machines and libraries of the runs |
| `{CRATE}` | description of the whole by RO-Crate 1.1 |
| `CITATION.cff`, `LICENSE` | how to cite it, and on which terms it may be used |
"""


# --- writing --------------------------------------------------------------------------------------------------------


def _write(out: Path, folder: str, content: Mapping[str, Path | bytes]) -> None:
    """Write the zip whole or not at all, everything below one folder."""
    out.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=out.parent, prefix=f".{out.name}.")
    try:
        with os.fdopen(handle, "wb") as stream, zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
            for path in sorted(content):
                what = content[path]
                entry = zipfile.ZipInfo(f"{folder}/{path}", _FIRST_DAY)
                entry.create_system, entry.external_attr = 3, 0o644 << 16  # a plain file, as Unix says it, everywhere
                archive.writestr(entry, what if isinstance(what, bytes) else what.read_bytes())
        os.chmod(name, 0o644)
        os.replace(name, out)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _there(path: Path) -> Path:
    if not path.is_file():
        raise InputError(f"{path}: no such file; a bundle is made in a checkout of this project")
    return path


def _json(value: object) -> bytes:
    return (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode()


def _sha256(what: Path | bytes) -> str:
    if isinstance(what, Path):
        return digest_file(what)
    return hashlib.sha256(what).hexdigest()
