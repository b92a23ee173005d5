# ---
# jupyter:
#   jupytext:
#     formats: py:percent,ipynb
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Classify a simulated field
#
# From four FITS images and a source list to a catalog of cluster-member probabilities, in a few
# seconds and without any data: the field is **simulated**, so every number below is about a
# simulation and says nothing of the real Perseus cluster.
#
# A real run is the same three lines with another run file; `deploy/runs/perseus-west.toml` in the
# repository is one.

# %%
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from astropy.table import Table

from survey_classifier import classify, simulate
from survey_classifier.membership.red_sequence import PERSEUS_GZ
from survey_classifier.membership.probability import posterior
from survey_classifier.run.config import read_run

# %% [markdown]
# ## 1. A field
#
# `simulate` writes images in g, r, i and z (with noise, seeing, a saturated star and a hole), a source
# list, some redshifts, and a run file that names them all. The same seed gives the same field.

# %%
folder = Path(tempfile.mkdtemp()) / "field"
field = simulate(folder, seed=11, size_px=1024, n_sources=400)
print(field.n_by_class)
print(field.run_file.read_text())

# %% [markdown]
# ## 2. The catalog
#
# `classify` ingests the images to one Zarr mosaic in nJy, cuts a stamp for each source, scores it, and
# publishes one Parquet file. It is run in this process here; `cluster="local"` uses all cores through
# Dask, with a dashboard. Every source of the list ends in exactly one row: classified, or with the
# reason why not.

# %%
receipt = classify(field.run_file, cluster="serial")
print(receipt.line)

# %% [markdown]
# astropy finds units and descriptions in the file; so does TOPCAT.

# %%
catalog_path = read_run(field.run_file).catalog_path
catalog = Table.read(catalog_path, format="parquet.votable")
catalog["source_id", "status", "mag_r", "color_gz", "p_image", "p_member"][:8]

# %%
for name in ("p_image", "prior_member", "llr_image", "p_member"):
    print(f"{name:13} {catalog[name].description}")

# %% [markdown]
# pandas reads the same file. `status` says what became of a source:

# %%
rows = pd.read_parquet(catalog_path)
rows["status"].value_counts()

# %% [markdown]
# ## 3. What came out
#
# The sky, with right ascension to the left as on the sky. Crosses were not classified: their pixel lies in
# the hole, in a saturated star, or off the image.

# %%
classified = rows[rows["status"] == "classified"].sort_values("p_member")
others = rows[rows["status"] != "classified"]

fig, ax = plt.subplots(figsize=(6.5, 5.5))
colors = {"c": classified["p_member"], "cmap": "viridis_r", "vmin": 0, "vmax": 1}
points = ax.scatter(classified["ra"], classified["dec"], s=14, **colors)
ax.plot(others["ra"], others["dec"], "x", color="0.5", label="not classified")
ax.set(xlabel="RA (deg)", ylabel="Dec (deg)", title="simulated field")
ax.set_aspect(1 / np.cos(np.radians(classified["dec"].mean())))
ax.invert_xaxis()
ax.legend(loc="upper right")
fig.colorbar(points, label="p_member")
plt.show()

# %% [markdown]
# The color-magnitude diagram, dereddened. The network sees pixels only, no magnitudes and no colors of the
# list; that likely members lie on the red sequence is what it has learned from images.

# %%
r_mag = np.linspace(14, 24, 100)

fig, ax = plt.subplots(figsize=(7, 4.5))
points = ax.scatter(classified["mag_r"], classified["color_gz"], s=14, **colors)
ax.plot(r_mag, PERSEUS_GZ.color(r_mag), color="black", label="red sequence of Perseus")
ax.set(xlabel="$r_0$ (mag)", ylabel="$(g-z)_0$ (mag)", ylim=(-0.5, 4), title="simulated field")
ax.legend()
fig.colorbar(points, label="p_member")
plt.show()

# %% [markdown]
# How probabilities are spread, by what the sources are in the simulation. No part of the classification
# ever sees this truth.

# %%
truth = pd.read_csv(field.truth).set_index("source_id")["true_class"]
true_class = classified["source_id"].map(truth)

fig, ax = plt.subplots(figsize=(7, 3.5))
for name in ("member", "background", "star"):
    p_member = classified.loc[true_class == name, "p_member"]
    ax.hist(p_member, np.linspace(0, 1, 21), histtype="step", lw=2, label=f"{name} ({len(p_member)})")
ax.set(xlabel="p_member", ylabel="sources", yscale="log", title="simulated field")
ax.legend()
plt.show()

# %%
called = np.where(classified["p_member"] >= 0.5, "called member", "called nonmember")
pd.crosstab(true_class, called, rownames=["in the simulation"], colnames=["at p_member >= 0.5"])

# %% [markdown]
# ## 4. Another prior
#
# `p_member` is Bayes' rule: the prior odds times the evidence of the image. The evidence has its own column,
# `llr_image`, so the prior can be replaced afterwards, without running anything again. Where members are
# rarer than in the training, the same image means less:

# %%
for prior in (0.30, 0.12, 0.03):
    p_member = posterior([classified["llr_image"]], prior)
    print(f"prior {prior:.2f}: {p_member.sum():5.1f} members expected, {(p_member >= 0.5).sum()} likely")

# %% [markdown]
# ## 5. The report
#
# Beside the catalog lies `report.html`, one page with these figures and the comparison with the truth.

# %%
print(catalog_path.with_name("report.html").exists())
