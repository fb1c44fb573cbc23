/** Which intensities are shown as black and white. */

/** Level and width in Hounsfield units, as radiologists name them. */
export const PRESETS = { brain: [40, 80], "soft tissue": [50, 400], lung: [-600, 1500], bone: [400, 1800] };

/** Parts of a slice's pixels that are shown as black and as white where nothing else is chosen. */
const ENDS = [0.005, 0.995];

/** Level and width that show a slice well by its own intensities. */
export function fitting({ codes, slope, intercept }) {
  const step = Math.max(1, Math.floor(codes.length / 20_000));
  const sample = Uint16Array.from({ length: Math.floor(codes.length / step) }, (_, at) => codes[at * step]).sort();
  const [low, high] = ENDS.map((part) => slope * sample[Math.floor(part * (sample.length - 1))] + intercept);
  return [(low + high) / 2, Math.max(high - low, slope)];
}

/**
 * A grey value for each 16-bit number, opaque, as a canvas keeps it.
 * @returns {Uint32Array} 65,536 entries
 */
export function table([level, width], slope, intercept) {
  const found = new Uint32Array(65536);
  const scale = (255 * slope) / width;
  const offset = (255 * (intercept - level + width / 2)) / width;
  for (let code = 0; code < found.length; code++) {
    const grey = Math.min(255, Math.max(0, scale * code + offset)) | 0;
    found[code] = 0xff000000 | (grey << 16) | (grey << 8) | grey;
  }
  return found;
}
