-- The shop: fixed contents, so that takes differ by their seed alone.
CREATE TABLE products (
    id bigint PRIMARY KEY,
    category int NOT NULL,
    name text NOT NULL,
    price_cents int NOT NULL,
    stock int NOT NULL
) WITH (fillfactor = 70);
CREATE TABLE reviews (
    id bigint PRIMARY KEY,
    product bigint NOT NULL,
    body text NOT NULL
);
CREATE TABLE orders (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    buyer bigint NOT NULL,
    product bigint NOT NULL,
    price_cents int NOT NULL,
    placed_at timestamptz NOT NULL DEFAULT now()
);
INSERT INTO products
SELECT n, 1 + n % 50, 'product ' || n, 100 + (n * 7919) % 9900, 500 FROM generate_series(1, 20000) n;
INSERT INTO reviews
SELECT n, 1 + (n::bigint * 104729) % 20000,
       'A ' || (ARRAY['sturdy', 'bright', 'quiet', 'light'])[1 + n % 4] || ' thing, review ' || n
       || ', used every day for weeks and not Returned yet. ' || md5(n::text) || md5((n + 1)::text)
FROM generate_series(1, 120000) n;
CREATE INDEX products_by_category ON products (category, id);
CREATE INDEX reviews_by_product ON reviews (product, id);
VACUUM (ANALYZE) products, reviews, orders;

