/** A table that sorts, scrolls under a fixed header, and copies out as CSV. */
import { Button } from "@mantine/core";
import { useState, type ReactNode } from "react";

import { toCsv } from "../lib/csv";

export interface Column<T> {
  key: string;
  title: string;
  /** Explains the column on hover. */
  hint?: string;
  align?: "right";
  /** What is sorted by and copied out. */
  value: (row: T) => string | number | null | undefined;
  /** What is shown; the value where absent. */
  cell?: (row: T) => ReactNode;
}

export function DataTable<T>({
  columns,
  rows,
  rowKey,
  label,
  initialSort,
  selected,
  maxHeight,
}: {
  columns: readonly Column<T>[];
  rows: readonly T[];
  rowKey: (row: T) => string;
  /** Says what the table holds, for screen readers and the CSV's name. */
  label: string;
  /** Absent: the rows stay in the order given. */
  initialSort?: Sort;
  selected?: (row: T) => boolean;
  maxHeight?: number;
}) {
  const [sort, setSort] = useState<Sort | undefined>(initialSort);
  const sorted = sortRows(rows, columns, sort);
  return (
    <div className="fm-table-scroll" style={maxHeight ? { maxHeight } : undefined} tabIndex={maxHeight ? 0 : undefined} role={maxHeight ? "region" : undefined} aria-label={maxHeight ? label : undefined}>
      <table className="fm-table" aria-label={label}>
        <thead>
          <tr>
            {columns.map((column) => {
              const order = sort?.key === column.key ? sort.order : undefined;
              return (
                <th key={column.key} scope="col" data-align={column.align} aria-sort={order} title={column.hint}>
                  <button
                    type="button"
                    className="fm-sort"
                    onClick={() => {
                      setSort({ key: column.key, order: order === "descending" ? "ascending" : order === "ascending" ? "descending" : column.align ? "descending" : "ascending" });
                    }}
                  >
                    {column.title}
                    {order && <span className="fm-sort-mark">{order === "ascending" ? "↑" : "↓"}</span>}
                  </button>
                </th>
              );
            })}
          </tr>
        </thead>
        <tbody>
          {sorted.map((row) => (
            <tr key={rowKey(row)} data-selected={selected?.(row) ? true : undefined}>
              {columns.map((column) => (
                <td key={column.key} data-align={column.align}>
                  {column.cell ? column.cell(row) : (column.value(row) ?? "–")}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

interface Sort {
  key: string;
  order: "ascending" | "descending";
}

/** Saves the rows as the table's CSV. */
export function CsvButton<T>({ columns, rows, name }: { columns: readonly Column<T>[]; rows: readonly T[]; name: string }) {
  return (
    <Button
      variant="default"
      size="compact-xs"
      onClick={() => {
        const text = toCsv(
          columns.map((column) => column.title),
          rows.map((row) => columns.map((column) => column.value(row))),
        );
        const link = document.createElement("a");
        link.href = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
        link.download = `${name}.csv`;
        link.click();
        URL.revokeObjectURL(link.href);
      }}
    >
      CSV
    </Button>
  );
}

function sortRows<T>(rows: readonly T[], columns: readonly Column<T>[], sort: Sort | undefined): readonly T[] {
  const column = columns.find((one) => one.key === sort?.key);
  if (!sort || !column) return rows;
  const sign = sort.order === "ascending" ? 1 : -1;
  return [...rows].sort((a, b) => {
    const [x, y] = [column.value(a), column.value(b)];
    // What is unknown comes last in either order.
    if (x === null || x === undefined) return y === null || y === undefined ? 0 : 1;
    if (y === null || y === undefined) return -1;
    return sign * (typeof x === "number" && typeof y === "number" ? x - y : String(x).localeCompare(String(y), "en", { numeric: true }));
  });
}
