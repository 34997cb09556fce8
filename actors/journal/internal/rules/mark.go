package rules

import (
	"fmt"
	"strconv"
)

// MarkAt is the mark of a journal.Inventory behind an effect with a number.
func MarkAt(number int64) string { return strconv.FormatInt(number, 10) }

// Mark is the number in a mark, 0 if it is empty.
func Mark(mark string) (int64, error) {
	if mark == "" {
		return 0, nil
	}
	number, err := strconv.ParseInt(mark, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%.32q is not a mark of this journal", mark)
	}
	return number, nil
}
