export const NO_ANSWER = "The server did not answer. Please try again.";

/** Post JSON. Resolves to what went wrong, in words; to nothing if all went well. */
export async function post(path, data) {
  try {
    const response = await fetch(path, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(data),
    });
    if (response.status >= 500) return NO_ANSWER;
    return response.ok ? "" : (await response.json()).error;
  } catch {
    return NO_ANSWER;
  }
}
