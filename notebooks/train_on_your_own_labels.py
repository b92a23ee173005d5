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
# # Train on your own labels
#
# A table of labeled objects, the images they are on, and five lines of TOML make a network of your own:
# it starts from one that is shipped, so a few hundred labels go a long way. Then it scores images of
# other objects, one file each, as archives hand them out.
#
# The fields here are **simulated**, so that the notebook needs no data; every number is about a
# simulation. With your own data only the paths change.

# %%
import tempfile
import zipfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from astropy.io import fits

from survey_classifier import ingest, simulate, train
from survey_classifier.geometry import Box
from survey_classifier.images.frame import ImageFrame
from survey_classifier.model.checkpoint import read_card
from survey_classifier.mosaic.store import Mosaic
from survey_classifier.run.score import ImageTable, score

folder = Path(tempfile.mkdtemp())

# %% [markdown]
# ## 1. Images and labels
#
# The images of a field become a mosaic, once. Of your own images, `survey-classifier ingest RUN` makes one.

# %%
mine = simulate(folder / "mine", seed=21, size_px=1792, n_sources=400)
ingest(mine.run_file);

# %% [markdown]
# The labels are a table with a name, a position and a label for each object: CSV, FITS, VOTable or
# Parquet. Here they are the simulation's truth; yours come from spectra, or from looking.

# %%
labels = pd.read_csv(mine.truth)[["source_id", "ra", "dec", "label"]]
labels.to_csv(folder / "labels.csv", index=False)
print(labels["label"].value_counts().to_string())
labels.head(3)

# %% [markdown]
# ## 2. Five lines
#
# `extends` names a recipe that comes with the package: whatever the file does not say is as there.
# `start_from` names a checkpoint whose weights are the first ones.
#
# If your table spells its labels in another way, say so with one line more, such as
# `labels = { mapping = { dE = "member", E = "member", spiral = "nonmember", star = "nonmember" } }`.
# If your objects have thumbnails and no mosaic, give `thumbnails = { ... }` in place of `store`
# (`deploy/recipes/perseus-sdss.toml` does).

# %%
recipe = folder / "mine.toml"
recipe.write_text("""\
extends = "perseus-synthetic"
name = "mine"
description = "My labels of a simulated field: no object is real."
data = [{ table = "labels.csv", store = "mine/field.zarr", columns = { id = "source_id", ra = "ra", dec = "dec", label = "label" } }]
fit = { start_from = "perseus-synthetic", epochs = 3, rate = 5e-4 }
""")
checkpoint = train(recipe, say=print)

# %% [markdown]
# Of every row of the table it is said what became of it: some lie off the mosaic, or where it has no data.
# The network was also fitted four more times, each time without a strip of the sky. What these say of the
# strip that they had not seen is how good the network is, and sets the temperature that makes its
# probabilities honest.

# %%
card = read_card(checkpoint)
print("started from", card.data[-1].name)
for name, value in card.metrics.items():
    print(f"{name:24} {value:.3f}")

# %% [markdown]
# ## 3. Images that exist already
#
# Another field, with other objects. As from an archive, each of them has one file, here FITS with a
# plane for each band, 24 arcsec a side, and all files lie in a zip. PNG and JPEG do as well for a network of
# color images. One image is missing, and one is damaged on the way.

# %%
other = simulate(folder / "other", seed=22, size_px=1280, n_sources=200)
ingest(other.run_file)
mosaic = Mosaic.open(folder / "other" / "field.zarr")
objects = pd.read_csv(other.truth)[["source_id", "ra", "dec", "label"]]
x, y = mosaic.world_to_pixel(objects["ra"], objects["dec"])
half = round(12 / mosaic.scale_arcsec)

with zipfile.ZipFile(folder / "images.zip", "w") as archive:
    for number, name in enumerate(objects["source_id"]):
        x0, y0 = round(x[number]) - half, round(y[number]) - half
        block = mosaic.read(Box(y0, y0 + 2 * half + 1, x0, x0 + 2 * half + 1), card.bands)
        image = fits.PrimaryHDU(block.flux)
        image.header["BUNIT"] = "nJy"
        if number > 0:
            image.writeto(folder / "image.fits", overwrite=True)
            archive.write(folder / "image.fits", f"{name}.fits")
    archive.writestr("damaged.fits", image.header.tostring())

objects["image"] = objects["source_id"] + ".fits"
objects.loc[1, "image"] = "damaged.fits"
objects.to_csv(folder / "objects.csv", index=False)

# %% [markdown]
# On the command line this is
#
#     survey-classifier score mine.safetensors images.zip --table objects.csv --name-column image \
#         --scale-arcsec 0.168 --out scores.parquet
#
# and the same in Python:

# %%
frame = ImageFrame(card.bands, scale_arcsec=mosaic.scale_arcsec)
table = ImageTable(folder / "objects.csv", "image", folder / "images.zip")
scored = score(str(checkpoint), table, folder / "scores.parquet", frame)
print("\n".join(scored.lines))

# %% [markdown]
# One row for each row of the table, in its order, with all its columns. What could not be scored says why.

# %%
rows = pd.read_parquet(scored.path)
assert list(rows["source_id"]) == list(objects["source_id"])
rows[["source_id", "label", "image", "p_image", "p_image_err", "status"]].head(5)

# %%
known = rows[rows["status"] == "classified"]

fig, ax = plt.subplots(figsize=(7, 3.5))
for name, own in known.groupby("label"):
    ax.hist(own["p_image"], np.linspace(0, 1, 21), histtype="step", lw=2, label=f"{name} ({len(own)})")
ax.set(xlabel="p_image", ylabel="objects", yscale="log", title="simulated field that the network had not seen")
ax.legend()
plt.show()

# %%
is_member = known["label"] == "member"
called = known["p_image"] >= 0.5
print(f"accuracy on the other field: {(called == is_member).mean():.3f}")
print(f"always 'nonmember':          {1 - is_member.mean():.3f}")

# %% [markdown]
# `p_image` is the probability at the share of members that the labels had. Where members are rarer or more
# common, weigh it again with `survey-classifier reweigh scores.parquet --columns p_image=p_image --prior 0.05`.
