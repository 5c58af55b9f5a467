// Reading off a chart: the same second on all of them. The page is complete without it.
for (const charts of document.querySelectorAll('.charts')) {
  const start = Number(charts.dataset.start), step = Number(charts.dataset.step);
  const all = [...charts.querySelectorAll('.chart')].map(figure => ({
    output: figure.querySelector('output'),
    cursor: figure.querySelector('.cursor'),
    area: figure.querySelector('.touch'),
    values: figure.dataset.values.split(','),
    unit: figure.dataset.unit,
  }));
  const text = (value, unit) => {
    if (value === '') return 'no sample';
    const v = Number(value), [base, rate] = unit.endsWith('/s') ? [unit.slice(0, -2), '/s'] : [unit, ''];
    const short = x => String(Number(x.toPrecision(3)));
    if (base === 'ratio') return short(v * 100) + ' %';
    if (base === 'seconds') return rate === '' && v !== 0 && Math.abs(v) < 1 ? short(v * 1000) + ' ms' : short(v) + ' s' + rate;
    if (base === 'bytes') {
      for (const [size, name] of [[1e9, 'GB'], [1e6, 'MB'], [1e3, 'kB']])
        if (Math.abs(v) >= size) return short(v / size) + ' ' + name + rate;
      return short(v) + ' B' + rate;
    }
    return short(v) + (base ? ' ' + base : '') + rate;
  };
  const show = share => {
    for (const chart of all) {
      const index = Math.round(share * (chart.values.length - 1));
      const at = new Date(start + index * step).toISOString().slice(11, 19);
      const left = Number(chart.area.getAttribute('x')), width = Number(chart.area.getAttribute('width'));
      const x = left + index / (chart.values.length - 1) * width;
      chart.cursor.setAttribute('x1', x);
      chart.cursor.setAttribute('x2', x);
      chart.cursor.setAttribute('visibility', 'visible');
      chart.output.textContent = at + ' · ' + text(chart.values[index], chart.unit);
    }
  };
  const hide = () => all.forEach(chart => {
    chart.cursor.setAttribute('visibility', 'hidden');
    chart.output.textContent = '';
  });
  for (const chart of all) {
    chart.area.addEventListener('pointermove', event => {
      const box = chart.area.getBoundingClientRect();
      show(Math.min(1, Math.max(0, (event.clientX - box.left) / box.width)));
    });
    chart.area.addEventListener('pointerleave', hide);
  }
}
addEventListener('beforeprint', () => document.querySelectorAll('details').forEach(d => d.open = true));
