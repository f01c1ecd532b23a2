/*
 * Which tables are imported, and what their columns are.
 *
 *   type       in the source                          in the file (STRICT table)
 *   text       text                                   TEXT
 *   integer    number without a fraction              INTEGER
 *   real       number                                 REAL
 *   date       a date in `sourceForm`                 TEXT, ISO 8601: `1998-06-12`; sorts and compares as a date
 *   any        text in some rows, number in others    ANY: each value keeps its own type
 *
 * Every type may be null: JSON's null, and in CSV, which has no null, an empty field. Text such as `NA` stays text.
 */

export type ColumnType = 'text' | 'integer' | 'real' | 'date' | 'any';

/** How the source writes a date: `1998-06-12` or `Jun 12 1998`. */
export type DateForm = 'iso' | 'month-day-year';

export interface ColumnDefinition {
  /** As in the source, spaces included. */
  readonly name: string;
  readonly type: ColumnType;
  /** Format of dates; default `iso`. */
  readonly sourceForm?: DateForm | undefined;
}

export interface TableDefinition {
  /** Also the name of its tenant, after {@link TENANT_PREFIX}. */
  readonly name: string;
  /** In the folder `data` of the npm package vega-datasets; the file extension gives the format. */
  readonly file: string;
  /** In the order of the source. */
  readonly columns: readonly ColumnDefinition[];
}

export const TENANT_PREFIX = 'vega-';

/** The number of each row in its source, from 1: key of the imported table, and the order of the content hash. */
export const ROW_COLUMN = 'source_row';

const columns = (types: Readonly<Record<string, ColumnType | { readonly date: DateForm }>>) =>
  Object.entries(types).map(
    ([name, type]): ColumnDefinition =>
      typeof type === 'string' ? { name, type } : { name, type: 'date', sourceForm: type.date },
  );

/** Real tables, all rows of each. Types: vega-datasets' datapackage.json, where it differs see the comments. */
export const TABLES: readonly TableDefinition[] = [
  {
    name: 'airports',
    file: 'airports.csv', // quoted fields with commas and quotes
    columns: columns({
      iata: 'text',
      name: 'text',
      city: 'text',
      state: 'text',
      country: 'text',
      latitude: 'real',
      longitude: 'real',
    }),
  },
  {
    name: 'birdstrikes',
    file: 'birdstrikes.csv', // empty fields
    columns: columns({
      'Airport Name': 'text',
      'Aircraft Make Model': 'text',
      'Effect Amount of damage': 'text',
      'Flight Date': 'date',
      'Aircraft Airline Operator': 'text',
      'Origin State': 'text',
      'Phase of flight': 'text',
      'Wildlife Size': 'text',
      'Wildlife Species': 'text',
      'Time of day': 'text',
      'Cost Other': 'integer',
      'Cost Repair': 'integer',
      'Cost Total $': 'integer',
      'Speed IAS in knots': 'integer',
    }),
  },
  {
    name: 'football',
    file: 'football.json', // letters beyond ASCII
    columns: columns({
      date: 'date',
      division: 'text',
      home_team: 'text',
      away_team: 'text',
      home_score: 'integer',
      away_score: 'integer',
    }),
  },
  {
    name: 'movies',
    file: 'movies.json', // many nulls
    columns: columns({
      Title: 'any', // said to be text, but nine titles are numbers: 1776, 1941, 2012 …
      'US Gross': 'integer',
      'Worldwide Gross': 'integer',
      'US DVD Sales': 'integer',
      'Production Budget': 'integer',
      'Release Date': { date: 'month-day-year' },
      'MPAA Rating': 'text',
      'Running Time min': 'integer',
      Distributor: 'text',
      Source: 'text',
      'Major Genre': 'text',
      'Creative Type': 'text',
      Director: 'text',
      'Rotten Tomatoes Rating': 'integer',
      'IMDB Rating': 'real',
      'IMDB Votes': 'integer',
    }),
  },
  {
    name: 'seattle-weather',
    file: 'seattle-weather.csv',
    columns: columns({
      date: 'date',
      precipitation: 'real',
      temp_max: 'real',
      temp_min: 'real',
      wind: 'real',
      weather: 'text',
    }),
  },
  {
    name: 'zipcodes',
    file: 'zipcodes.csv',
    columns: columns({
      zip_code: 'text', // digits, but 00501 is not 501
      latitude: 'real',
      longitude: 'real',
      city: 'text',
      state: 'text',
      county: 'text',
    }),
  },
  {
    name: 'flights-200k',
    file: 'flights-200k.json',
    columns: columns({ delay: 'integer', distance: 'integer', time: 'real' }),
  },
];
