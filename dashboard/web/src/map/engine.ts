/** MapLibre, loaded apart from the pages so that they show their words first. */
import { setWorkerUrl } from "maplibre-gl";

setWorkerUrl("/static/maplibre-worker.mjs");

export { AttributionControl, LngLatBounds, Map, Marker, NavigationControl, ScaleControl } from "maplibre-gl";
