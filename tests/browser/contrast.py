"""How well text can be read: its contrast with what lies behind it, as WCAG counts it."""

from __future__ import annotations

# Colours are painted one over the other and read back, for many are half transparent, and some
# are mixed by the browser.
CONTRAST = """selector => {
    const paint = Object.assign(document.createElement('canvas'), { width: 1, height: 1 })
        .getContext('2d', { willReadFrequently: true });
    const seen = colours => {
        for (const colour of colours) {
            paint.fillStyle = colour;
            paint.fillRect(0, 0, 1, 1);
        }
        return [...paint.getImageData(0, 0, 1, 1).data].slice(0, 3);
    };
    const light = rgb => rgb
        .map(c => c / 255).map(c => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
        .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
    const found = {};
    for (const root of document.querySelectorAll(selector)) {
        const texts = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
        while (texts.nextNode()) {
            const node = texts.currentNode.parentElement;
            const text = texts.currentNode.data.trim();
            if (!text || !node.checkVisibility({ opacityProperty: true })) continue;
            if (node.closest('style, :disabled')) continue;
            const behind = ['white'];
            for (let each = node; each; each = each.parentElement)
                behind.splice(1, 0, getComputedStyle(each).backgroundColor);
            const [a, b] = [light(seen([...behind, getComputedStyle(node).color])),
                            light(seen(behind))];
            const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
            const what = `${node.className} ${text.slice(0, 20)}`;
            found[what] = Math.min(found[what] ?? 99, Math.round(ratio * 100) / 100);
        }
    }
    return Object.entries(found).sort((a, b) => a[1] - b[1]);
}"""
