-- Where an interval stands in the week, month and year; the same for every pair.
CREATE OR REPLACE TABLE `{features}.shared_calendar` AS
SELECT
  interval_time,
  EXTRACT(DAYOFWEEK FROM interval_time) AS day_of_week,
  EXTRACT(DAY FROM interval_time) AS day_of_month,
  EXTRACT(MONTH FROM interval_time) AS month,
  SIN(2 * ACOS(-1) * EXTRACT(DAYOFYEAR FROM interval_time) / 365.25) AS season_sin,
  COS(2 * ACOS(-1) * EXTRACT(DAYOFYEAR FROM interval_time) / 365.25) AS season_cos
FROM `{raw}.prices_{pair}`
