from recsys.dataset.ingestion.judgement import TableCounts
from recsys.dataset.ingestion.summary import Summary, Texts
from recsys.report.data import show_data


def test_the_panel_has_the_size_of_the_data_and_every_line_of_the_summary() -> None:
    summary = Summary(
        *(2000, 30, 10, 4000, {"buy": 4000}, 4000, "2021-01-02T03:04:05+00:00", "2021-03-04T00:00:00+00:00"),
        texts={"title": Texts(1.0, 5, 9)},
        languages={"English": 1.0},
        rows={"items": TableCounts(30, 30, {})},
        warnings=[],
    )
    panel = show_data(summary)
    assert [(stat.value, stat.note) for stat in panel.stats] == [
        ("2,000", "with interactions"),
        ("30", "10 with interactions"),
        ("4,000", "2021-01-02 to 2021-03-04"),
    ]
    # What the highlighted numbers say is not said again.
    lines = summary.lines()
    assert panel.notes == (lines[1], *lines[3:])
