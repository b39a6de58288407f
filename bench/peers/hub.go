// Go's net/http, in the shape of most Go hubs: a goroutine and a channel for each reader.
package main

import (
	"io"
	"net/http"
	"os"
	"sync"
)

var (
	mutex    sync.RWMutex
	channels = map[string]map[chan []byte]bool{}
)

func stream(w http.ResponseWriter, r *http.Request) {
	name, reader := r.URL.Query().Get("channel"), make(chan []byte, 64)
	mutex.Lock()
	if channels[name] == nil {
		channels[name] = map[chan []byte]bool{}
	}
	channels[name][reader] = true
	mutex.Unlock()
	defer func() {
		mutex.Lock()
		delete(channels[name], reader)
		mutex.Unlock()
	}()
	w.Header().Set("Content-Type", "text/event-stream")
	w.Write([]byte(":\n\n"))
	flusher := w.(http.Flusher)
	flusher.Flush()
	for {
		select {
		case frame := <-reader:
			if _, err := w.Write(frame); err != nil {
				return
			}
			flusher.Flush()
		case <-r.Context().Done():
			return
		}
	}
}

func publish(w http.ResponseWriter, r *http.Request) {
	data, _ := io.ReadAll(r.Body)
	frame := []byte("data: " + string(data) + "\n\n")
	mutex.RLock()
	for reader := range channels[r.URL.Query().Get("channel")] {
		reader <- frame
	}
	mutex.RUnlock()
	w.WriteHeader(204)
}

func main() {
	http.HandleFunc("/stream", stream)
	http.HandleFunc("/publish", publish)
	panic(http.ListenAndServe("127.0.0.1:"+os.Args[1], nil))
}
