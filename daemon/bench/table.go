package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
)

// printTable writes summaries as an aligned table. The floor's column is a ratio of
// medians to the tool floor.
func printTable(w io.Writer, sums []summary, floor string) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(tw, "workload\tfigure\ttool\tmedian\tmin\tmax\tto %s\truns\t\n", floor)
	last := ""
	for _, s := range sums {
		head := s.Workload + "\t" + s.Metric + ", " + s.Unit
		shown := head
		if head == last {
			shown = "\t"
		}
		last = head
		fmt.Fprintf(tw, "%s\t%s\t", shown, s.Tool)
		if s.Runs == 0 {
			fmt.Fprintf(tw, "-\t\t\t\t0\t%s\n", s.Note)
			continue
		}
		ratio := ""
		if s.Ratio > 0 {
			ratio = strconv.FormatFloat(s.Ratio, 'f', 2, 64)
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%d\t", short(s.Median), short(s.Min), short(s.Max), ratio, s.Runs)
		if s.Missed > 0 {
			fmt.Fprintf(tw, "and %d without: %s", s.Missed, s.Note)
		}
		fmt.Fprintln(tw)
	}
	return tw.Flush()
}

// short writes a value with three or more significant digits, never as 1e+06.
func short(v float64) string {
	switch {
	case v == 0:
		return "0"
	case v >= 100:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case v >= 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	case v >= 1:
		return strconv.FormatFloat(v, 'f', 2, 64)
	}
	return strings.TrimRight(strings.TrimRight(strconv.FormatFloat(v, 'f', 4, 64), "0"), ".")
}
