"""Makes the documentation's picture of a page: python tests/pages/screenshots.py REPORT.html docs/images/report.jpg"""

import sys
import tempfile
from pathlib import Path

from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))
from browser import chromium

HEIGHT, GAP = 1240, 24


def main(page: Path, picture: Path) -> None:
    """A page on a wide screen, light, beside the same on a phone, dark: two stretches of it."""
    with tempfile.TemporaryDirectory() as profile, chromium(Path(profile)) as browser:
        browser.open(page.resolve(), 1100)
        wide = browser.page_picture(1100, HEIGHT)
        browser.open(page.resolve(), 360, dark=True)
        top = browser.run(
            "const part = document.querySelector('#examples, #charts');"
            "return part.getBoundingClientRect().top + scrollY"
        )
        phone = browser.page_picture(360, HEIGHT, top=int(top) - 20)
    both = Image.new("RGB", (wide.width + GAP + phone.width, HEIGHT), "#8a949e")
    both.paste(wide, (0, 0))
    both.paste(phone, (wide.width + GAP, 0))
    both.save(picture, quality=78, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
