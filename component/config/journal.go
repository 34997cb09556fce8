package config

import (
	"errors"
	"net/url"
	"strings"
)

// Journal says where the events are.
type Journal struct {
	// Scheme is sqlite, memory or postgres.
	Scheme string
	// Source is the file of sqlite and the connection string of postgres.
	Source Secret
}

const journalForms = "; use sqlite:<file>, memory: or postgres://<user>:<password>@<host>/<database>"

// parseJournal never quotes the text: it may hold a password, also where it is wrong.
func parseJournal(text string) (Journal, error) {
	scheme, rest, ok := strings.Cut(text, ":")
	switch {
	case text == "":
		return Journal{}, errors.New("is empty" + journalForms)
	case !ok:
		return Journal{}, errors.New("has no scheme" + journalForms)
	}
	switch strings.ToLower(scheme) {
	case "sqlite":
		if rest == "" || strings.ContainsAny(rest, "?\x00") {
			return Journal{}, errors.New("does not name a plain file after sqlite:" + journalForms)
		}
		return Journal{Scheme: "sqlite", Source: Secret(rest)}, nil
	case "memory":
		if rest != "" {
			return Journal{}, errors.New("has something after memory:" + journalForms)
		}
		return Journal{Scheme: "memory"}, nil
	case "postgres", "postgresql":
		u, err := url.Parse(text)
		if err != nil || !strings.HasPrefix(rest, "//") {
			return Journal{}, errors.New("is not a URL of the form postgres://<user>:<password>@<host>/<database>; escape special characters of the password as %XX")
		}
		if strings.Trim(u.Path, "/") == "" {
			return Journal{}, errors.New("names no database; write postgres://<user>:<password>@<host>/<database>")
		}
		return Journal{Scheme: "postgres", Source: Secret(text)}, nil
	case "dapr":
		return Journal{}, errors.New("asks for a Dapr state store as the journal, which is not supported yet" + journalForms)
	}
	return Journal{}, errors.New("has an unknown scheme" + journalForms)
}
