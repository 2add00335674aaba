-- Mean logarithmic return of the dollar against seven currencies, and what {window} intervals of it add up to.
CREATE OR REPLACE TABLE `{features}.shared_dollar_index_{window}` AS
WITH prices AS (
  SELECT interval_time, -LN(close) AS level FROM `{raw}.prices_eurusd`
  UNION ALL SELECT interval_time, -LN(close) FROM `{raw}.prices_gbpusd`
  UNION ALL SELECT interval_time, -LN(close) FROM `{raw}.prices_audusd`
  UNION ALL SELECT interval_time, -LN(close) FROM `{raw}.prices_nzdusd`
  UNION ALL SELECT interval_time, LN(close) FROM `{raw}.prices_usdcad`
  UNION ALL SELECT interval_time, LN(close) FROM `{raw}.prices_usdchf`
  UNION ALL SELECT interval_time, LN(close) FROM `{raw}.prices_usdjpy`
), levels AS (
  SELECT interval_time, AVG(level) AS level
  FROM prices
  GROUP BY interval_time
), returns AS (
  SELECT interval_time, level - LAG(level) OVER (ORDER BY interval_time) AS r
  FROM levels
)
SELECT
  interval_time,
  SUM(r) OVER w AS dollar_change_{window},
  STDDEV_SAMP(r) OVER w AS dollar_volatility_{window}
FROM returns
WINDOW w AS (ORDER BY interval_time ROWS BETWEEN {preceding} PRECEDING AND CURRENT ROW)
