package config

import (
	"errors"
	"net/url"
	"strings"
)

// Journal says where the events are.
type Journal struct {
	// Scheme is sqlite, memory, postgres or dapr.
	Scheme string
	// Source is the file of sqlite, the connection string of postgres and the sidecar's state store of dapr.
	Source Secret
}

const journalForms = "; use sqlite:<file>, memory:, postgres://<user>:<password>@<host>/<database> or dapr:<state store>"

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
		if rest == "" || strings.ContainsFunc(rest, notInName) || len(rest) > maxComponentName {
			return Journal{}, errors.New("does not name a component of the sidecar after dapr:" + journalForms)
		}
		return Journal{Scheme: "dapr", Source: Secret(rest)}, nil
	}
	return Journal{}, errors.New("has an unknown scheme" + journalForms)
}

// maxComponentName is how long the name of a Dapr component may be in Kubernetes.
const maxComponentName = 253

func notInName(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '.' && r != '-' && r != '_'
}
