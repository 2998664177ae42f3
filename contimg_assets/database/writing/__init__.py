"""Writing epochs: one transaction that replaces their rows and recomputes every source they touch.

`replace` is the transaction, step by step. The rows of an epoch are in `epochs` (what its images cover in
`image_coverage`); what light curves say of a source in `statistics`, and what depends on other sources and on images
in `sources`; `limits`, `aliases`, `matches` and `epoch_scales` are the tables of these names. `stored` reads what was
there, `report` says what was done.
"""
