"""The pure parts of scripts/chaos: what counts as met, and how it is told. Nothing is broken here."""

import pytest

from findings import Finding, at_most, holds, table, told


@pytest.mark.parametrize(("measured", "met"), [(0, True), (4, True), (4.01, False), (float("nan"), False)])
def test_a_figure_is_met_at_its_bar_and_not_beyond(measured: float, met: bool):
    finding = at_most("attempts", measured, 4)
    assert finding.met is met
    assert finding.bar == "<= 4"


def test_units_are_said():
    assert at_most("lead", 2.0612, 4, "s") == Finding(what="lead", measured="2.06 s", bar="<= 4 s", met=True)


def test_a_table_names_each_fault_once_and_what_was_missed():
    found = [("kill", at_most("errors", 1, 0)), ("kill", told("share", "3%")), ("hang", holds("back", met=True))]
    header, rule, *lines = table(found).splitlines()
    assert [cell.strip() for cell in header.split("|")[1:-1]] == ["fault", "what", "measured", "must be", ""]
    assert set(rule) == {"|", "-"}
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    assert cells == [
        ["kill", "errors", "1", "<= 0", "**missed**"],
        ["", "share", "3%", "", ""],
        ["hang", "back", "yes", "yes", "met"],
    ]
    assert len({len(line) for line in (header, rule, *lines)}) == 1
