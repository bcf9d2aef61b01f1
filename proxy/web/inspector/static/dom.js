// Elements, made and kept up to date. Text is only ever set as text: an id may be any string.

const SVG = "http://www.w3.org/2000/svg";

/**
 * An element with attributes and children; a child that is a string is text.
 * @param {string} tag
 * @param {Record<string, string>} [attributes]
 * @param {...(Node | string)} children
 * @returns {HTMLElement}
 */
export function el(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

/** The same of SVG. */
export function svg(tag, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

function filled(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

/** The element with that id. */
export function by(id) {
  return document.getElementById(id);
}

/** Set text if it is another one: what stays as it is keeps its selection, and is not read out again. */
export function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/**
 * Make the rows of a table those: of each the first cell is its heading. `kinds[i]` is the class of column i.
 * @param {Element} body
 * @param {string[][]} table
 * @param {string[]} [kinds]
 */
export function rows(body, table, kinds = []) {
  while (body.children.length > table.length) body.lastElementChild.remove();
  table.forEach((cells, at) => {
    const row = body.children[at] ?? body.appendChild(el("tr"));
    cells.forEach((text, column) => {
      const cell = row.children[column] ?? row.appendChild(newCell(column, kinds[column]));
      say(cell, text);
    });
  });
}

function newCell(column, kind) {
  const cell = column === 0 ? el("th", { scope: "row" }) : el("td");
  if (kind) cell.className = kind;
  return cell;
}

/**
 * Make the terms of a definition list those.
 * @param {Element} list
 * @param {[string, string | Node][]} facts
 */
export function terms(list, facts) {
  const isText = facts.every(([, value]) => typeof value === "string");
  if (isText && list.children.length === facts.length) {
    facts.forEach(([term, value], at) => {
      const [name, text] = list.children[at].children;
      say(name, term);
      say(text, value);
    });
    return;
  }
  list.replaceChildren(
    ...facts.map(([term, value]) => el("div", {}, el("dt", {}, term), el("dd", {}, value))),
  );
}

/** A table of figures: a caption, and columns of which the first has no heading. */
export function table(caption, ...columns) {
  const heads = columns.map((column) => el("th", { scope: "col" }, column));
  const corner = el("td");
  const title = el("caption", {}, caption);
  const body = el("tbody");
  const whole = el("table", {}, title, el("thead", {}, el("tr", {}, corner, ...heads)), body);
  return { whole, title, body };
}
