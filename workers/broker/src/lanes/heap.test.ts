import { expect, it } from 'vitest';
import { createRandom } from '../../test-support/random.ts';
import { Heap } from './heap.ts';

it('has the first of its items in front, whatever is pushed, shifted and dropped', () => {
  for (let seed = 1; seed <= 100; seed++) {
    const random = createRandom(seed);
    const heap = new Heap<number>((a, b) => a - b);
    let model: number[] = [];
    for (let step = 0; step < 200; step++) {
      if (random() < 0.6) {
        const item = Math.floor(random() * 50);
        heap.push(item);
        model.push(item);
        model.sort((a, b) => a - b);
      } else if (random() < 0.9) expect(heap.shift()).toBe(model.shift());
      else {
        const divisor = 2 + Math.floor(random() * 3);
        heap.keep(item => item % divisor !== 0);
        model = model.filter(item => item % divisor !== 0);
      }
      expect([heap.first, heap.size], `seed ${seed}, step ${step}`).toEqual([model[0], model.length]);
    }
    heap.clear();
    expect([heap.first, heap.shift(), heap.size]).toEqual([undefined, undefined, 0]);
  }
});
