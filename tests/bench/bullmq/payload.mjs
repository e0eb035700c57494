// Orders, as applications tell of them: JSON of about so many bytes, like that of load.c.
export function payload(bytes) {
  const order = { items: [], note: '' };
  for (let i = 0; JSON.stringify(order).length + 100 < bytes; i++) {
    order.items.push({ id: i * 7919, name: `Café ${i}`, price: i % 100, paid: true, tags: [] });
  }
  order.note = 'x'.repeat(Math.max(0, bytes - Buffer.byteLength(JSON.stringify(order))));
  return order;
}
