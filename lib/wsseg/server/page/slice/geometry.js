/** Places on a picture, in its pixels, and places on the stored slice, in its voxels; whole numbers are middles. */

/** A place (right, down) of a picture on the stored slice: along its two axes, the lower first. */
export function stored({ right, down }, [x, y]) {
  const across = right.flipped ? right.pixels - 1 - x : x;
  const along = down.flipped ? down.pixels - 1 - y : y;
  return right.axis < down.axis ? [across, along] : [along, across];
}

/** The way back. */
export function shown({ right, down }, [first, second]) {
  const [across, along] = right.axis < down.axis ? [first, second] : [second, first];
  return [right.flipped ? right.pixels - 1 - across : across, down.flipped ? down.pixels - 1 - along : along];
}

/** A place cut to the picture. */
export function inside({ right, down }, [x, y]) {
  return [Math.min(Math.max(x, 0), right.pixels - 1), Math.min(Math.max(y, 0), down.pixels - 1)];
}
