package sdk

import "strings"

// Metadata travels beside a command, in order; keys may repeat. Which keys there are depends on the way the command came
// by: HTTP headers, gRPC metadata, the metadata of a binding.
type Metadata []Entry

// Entry is one metadata entry. A binary value is in Bytes; Text is then empty.
type Entry struct {
	Key   string
	Text  string
	Bytes []byte
}

// Get returns the text of the first entry with that key, whatever its case, or "".
func (m Metadata) Get(key string) string {
	for _, e := range m {
		if strings.EqualFold(e.Key, key) {
			return e.Text
		}
	}
	return ""
}
