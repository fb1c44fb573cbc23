"""The model card: what a package's metadata says, for people."""

from __future__ import annotations

from wsseg.models.package import Metadata


def model_card(name: str, metadata: Metadata) -> str:
    """Markdown from a package's metadata alone, so that the two never differ."""
    recipe = metadata.wsseg
    lines = [f"# {name} {metadata.version}", "", metadata.description, ""]
    lines += [f"- Method: {recipe.method}", f"- Classes: {', '.join(recipe.labels)}", f"- Reads: {recipe.modality}"]
    lines += [f"- Licence: {recipe.licence}", f"- Authors: {metadata.authors}"]
    for field in ("intended_use", "data_source", "known_failures", "ablation"):
        if text := (metadata.model_extra or {}).get(field):
            lines += ["", f"## {field.replace('_', ' ').capitalize()}", "", text]
    if recipe.training:
        lines += ["", "## Training", "", *(f"- {what}: {value}" for what, value in recipe.training.lines().items())]
    lines += ["", "## Settings", "", *(f"- {key}: {value}" for key, value in recipe.settings.items())]
    if recipe.figures:
        lines += ["", "## Figures", "", "| what | mean | spread | seeds |", "|---|---|---|---|"]
        for f in recipe.figures:
            spread = f"{f.spread:.3f}" if f.seeds > 1 else ""
            lines.append(f"| {f.title} | {f.value:.3f} | {spread} | {f.seeds} |")
    return "\n".join(lines) + "\n"
