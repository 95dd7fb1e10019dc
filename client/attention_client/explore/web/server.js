// Calls to the page's own program; what it refuses comes as a Refusal with its words.

export class Refusal extends Error {
  constructor(message, away = false) {
    super(message);
    this.away = away; // whether no server answers
  }
}

async function answered(path, options) {
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refusal("the page's own program does not answer: start it again");
  }
  if (response.ok) return response;
  const told = await response.json().catch(() => ({}));
  const message = told.error ?? `the page's own program answered ${response.status}`;
  throw new Refusal(message, response.status === 503);
}

export const get = async (path) => (await answered(path)).json();

export const post = (path, content, signal) =>
  answered(path, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(content),
    signal,
  });

export async function upload(file, signal) {
  const path = `/api/uploads?file=${encodeURIComponent(file.name)}`;
  return (await answered(path, { method: "POST", body: file, signal })).json();
}
