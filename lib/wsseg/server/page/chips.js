/** The classes as buttons to choose from. */

/** A colour as CSS has it. */
export function css(color) {
  return `rgb(${color.join(" ")})`;
}

/** A button for each class, with its colour and, of the first nine, its key. */
export function chips(labels) {
  return labels.map(({ name, color }, index) => {
    const chip = document.createElement("button");
    chip.type = "button";
    chip.value = name;
    chip.setAttribute("role", "radio");
    chip.style.setProperty("--color", css(color));
    const key = document.createElement("kbd");
    key.textContent = index + 1;
    chip.append(document.createElement("i"), name, ...(index < 9 ? [key] : []));
    return chip;
  });
}
