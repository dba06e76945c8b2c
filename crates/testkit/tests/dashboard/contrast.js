// The texts on the page that stand out less from their ground than WCAG 2 asks for: 4.5.
(() => {
  const parts = (colour) => colour.match(/[\d.]+/g).map(Number);
  const over = (top, below) => {
    const alpha = top[3] ?? 1;
    return [0, 1, 2].map((i) => alpha * top[i] + (1 - alpha) * below[i]);
  };
  const luminance = (colour) => {
    const [r, g, b] = colour.map((c) => (c / 255 <= 0.03928 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (node) => {
    if (!node) return [255, 255, 255];
    return over(parts(getComputedStyle(node).backgroundColor), ground(node.parentElement));
  };
  const faint = [];
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const node = texts.currentNode.parentElement;
    if (texts.currentNode.data.trim() === "" || node.getClientRects().length === 0 || node.closest(".unseen, .skip")) continue;
    const behind = ground(node);
    const style = getComputedStyle(node);
    const front = over(parts(node.closest("svg") ? style.fill : style.color), behind);
    const [dark, light] = [luminance(front), luminance(behind)].sort((a, b) => a - b);
    const ratio = (light + 0.05) / (dark + 0.05);
    if (!(ratio >= 4.5)) faint.push(`${ratio.toFixed(2)} ${texts.currentNode.data}`);
  }
  return faint;
})()
