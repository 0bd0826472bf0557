// The key: in the field, and in this tab's session storage, which ends with the tab. Nowhere else.

const PLACE = "whisper-key";

/** Fill the field from this tab's memory and keep what is typed. Returns a function that gives the key. */
export function keyOf(field) {
  field.value = sessionStorage.getItem(PLACE) ?? "";
  field.addEventListener("input", () => {
    if (field.value.trim()) sessionStorage.setItem(PLACE, field.value.trim());
    else sessionStorage.removeItem(PLACE);
  });
  return () => field.value.trim();
}
