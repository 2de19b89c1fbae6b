"""What the attacks of a run were worth: how far they come from the nominal loss to the exact value, and what they take of the time."""

from __future__ import annotations

from typing import Any

_HEAD = (
    "workload",
    "attacks s",
    "of the run",
    "nominal",
    "best WDA(m)",
    "WDA++",
    "mixture",
    "exact",
    "mixture never below",
    "made",
)


def attacks_table(data: dict[str, Any]) -> str:
    """Every digits workload: values, and in brackets (value - nominal) / (exact - nominal)."""
    rows = []
    for workload, entries in data["rows"].items():
        row = entries.get("wdaverify")
        if workload.startswith("digits") and row and row["state"] == "done" and row["facts"].get("attacks"):
            rows.append(_cells(workload, row))
    if not rows:
        return ""
    table = "\n".join("| " + " | ".join(cells) + " |" for cells in (_HEAD, tuple("---" for _ in _HEAD), *rows))
    return "**Attacks** inside these runs (in brackets: how far from the nominal loss to the exact value)\n\n" + table


def _cells(workload: str, row: dict[str, Any]) -> tuple[str, ...]:
    facts = row["facts"]
    nominal, exact, values = facts["nominal"], row["lower"], dict(facts["attacks"])
    mixture = values.pop("mixture")
    powers = {name: value for name, value in values.items() if name != "WDA++"}
    best = max(powers, key=lambda name: powers[name])

    def share(value: float) -> str:
        return (
            f"{value:.6f} ({100 * (value - nominal) / (exact - nominal):.1f} %)" if exact > nominal else f"{value:.6f}"
        )

    last, seconds = row["seconds"][-1], facts["attack_seconds"]
    return (
        workload,
        f"{seconds:.2f}",
        f"{100 * seconds / last:.0f} %",
        f"{nominal:.6f}",
        f"{best}: {share(powers[best])}",
        share(values["WDA++"]),
        share(mixture),
        f"{exact:.6f}",
        "yes" if all(mixture >= value for value in values.values()) else "**no**",
        row["stamp"],
    )
