// Elements of the page. Text is only ever text: what peers say of themselves is shown, never obeyed.

const SVG = "http://www.w3.org/2000/svg";

export const by = (id) => document.getElementById(id);

// element("td", { class: "number" }, "text", child)
export const element = (name, attributes, ...children) =>
  filled(document.createElement(name), attributes, children);

export const drawing = (name, attributes, ...children) =>
  filled(document.createElementNS(SVG, name), attributes, children);

// Changes the text only where it is another: nothing is announced or selected anew for nothing.
export function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function filled(node, attributes = {}, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children);
  return node;
}
