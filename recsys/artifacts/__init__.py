"""Folders on disk: snapshots, runs, bundles and published lists, each written whole or not at all.

Everything lies under one home:

    snapshots/ID/                    items, interactions, rejected rows; ID is the hash of their content
    snapshots/NAME.current           the snapshot that the config NAME ingested last
    runs/ID/                         one training: its tables, settings and plots
    runs/NAME.current                the run that the config NAME trained last
    recommendations/run_date=DATE/   the lists of one night
    recommendations/CURRENT          the run date that readers follow
"""
