"""Puts the first eight samples of several grids under one another, each row with its label, for the README.

    python3 docs/results/strip.py OUT.png "epoch 1" GRID.png "epoch 10" GRID.png …

The grids are the `fakes….png` of one run, so all rows show the same latents. Needs Pillow.
"""

import sys

from PIL import Image, ImageDraw, ImageFont

SAMPLES, LABEL = 8, 78


def main(out, *pairs):
    rows = []
    for label, path in zip(pairs[::2], pairs[1::2]):
        grid = Image.open(path).convert("L")
        tile = grid.width // SAMPLES
        rows.append((label, grid.crop((0, 0, grid.width, tile))))
    width, height = rows[0][1].size
    strip = Image.new("L", (LABEL + width, len(rows) * (height + 2) - 2), 255)
    draw, font = ImageDraw.Draw(strip), ImageFont.load_default(15)
    for i, (label, row) in enumerate(rows):
        top = i * (height + 2)
        strip.paste(row, (LABEL, top))
        draw.text((LABEL - 8, top + height // 2), label, fill=0, font=font, anchor="rm")
    strip.save(out, optimize=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
