/** Order -> events: one request, whose answer is a stream. To abort it is to stop the order. */

export async function order(body, handlers, signal) {
  const response = await fetch("order", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
    signal,
  });
  if (!response.ok) throw refusal(await response.json());
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  for (let left = ""; ; ) {
    const { value, done } = await reader.read();
    if (done) return;
    const events = (left + value).split("\n\n");
    left = events.pop();
    for (const event of events) {
      const [, name, data] = event.match(/^event: (.*)\ndata: (.*)$/s);
      if (name === "error") throw refusal(JSON.parse(data));
      handlers[name]?.(JSON.parse(data));
    }
  }
}

function refusal({ message, field }) {
  return Object.assign(new Error(message), { field });
}

/** Base64 of a PNG -> address of an image. */
export const source = (png) => `data:image/png;base64,${png}`;

/** Base64 of a picture -> as an order takes it. */
export const sent = (base64) => base64.replaceAll("+", "-").replaceAll("/", "_");

/** File -> base64; one that is too large for an order is drawn smaller, which loses its settings. */
export async function read(file, most = 3 << 19) {
  const blob = file.size > most ? await smaller(file) : file;
  const reader = new FileReader();
  await new Promise((done, failed) => {
    reader.onload = done;
    reader.onerror = () => failed(reader.error);
    reader.readAsDataURL(blob);
  });
  return reader.result.slice(reader.result.indexOf(",") + 1);
}

async function smaller(file, side = 1024) {
  const picture = await createImageBitmap(file);
  const factor = Math.min(1, side / Math.max(picture.width, picture.height));
  const canvas = new OffscreenCanvas(picture.width * factor, picture.height * factor);
  canvas.getContext("2d").drawImage(picture, 0, 0, canvas.width, canvas.height);
  return canvas.convertToBlob();
}
